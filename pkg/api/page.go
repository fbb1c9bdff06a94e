package api

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/sluicedev/sluice/web/dashboard"
)

// asset is one file of the page, as it is sent.
type asset struct {
	mediaType    string
	cacheControl string
	plain, small []byte // small is gzip; nil where that is no gain
	tag          string // of plain
}

// page serves the dashboard: exactly the files that were built, each at a path of its own, and nothing that is computed from a
// request's path. It is open without a key; what it shows it asks the API for, like any other client.
type page struct{ policy string }

// About is /page.json: what the page has to know before it asks for anything.
type About struct {
	Auth      bool    `json:"auth"`      // a key is asked for
	Simulator *string `json:"simulator"` // the URL of the demo's provider, which the page may switch; null: there is none
}

// Files never change under a name that has a hash in it.
const (
	cacheForever  = "public, max-age=31536000, immutable"
	cacheAskAgain = "no-cache"
)

func newPage(simulator string) *page {
	connect := "'self'"
	if simulator != "" {
		connect += " " + simulator
	}
	return &page{
		policy: "default-src 'none'; script-src 'self'; style-src 'self'; connect-src " + connect +
			"; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
	}
}

// servePage adds a route for each file.
func (s *Server) servePage(e *echo.Echo, simulator string) error {
	e.GET("/page.json", func(c echo.Context) error {
		return writeJSON(c, http.StatusOK, About{Auth: s.keys != nil, Simulator: orNull(simulator)})
	})
	p := newPage(simulator)
	return fs.WalkDir(dashboard.Files, dashboard.Root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := dashboard.Files.ReadFile(name)
		if err != nil {
			return err
		}
		route := strings.TrimPrefix(name, dashboard.Root)
		a, err := newAsset(route, content)
		if route == "/index.html" {
			route, a.cacheControl = "/", cacheAskAgain
		}
		e.GET(route, func(c echo.Context) error { return p.send(c, a) })
		return err
	})
}

func newAsset(name string, content []byte) (*asset, error) {
	sum := sha256.Sum256(content)
	packed, err := pack(content)
	if len(packed) >= len(content) {
		packed = nil
	}
	return &asset{
		mediaType: mediaTypeOf(name), cacheControl: cacheForever, plain: content, small: packed,
		tag: base64.RawURLEncoding.EncodeToString(sum[:12]),
	}, err
}

func pack(content []byte) ([]byte, error) {
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	err = w.Close()
	return packed.Bytes(), err
}

// mediaTypeOf does not ask the machine's own table, which may say anything of .js.
func mediaTypeOf(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return echo.MIMEOctetStream
}

func (p *page) send(c echo.Context, a *asset) error {
	body, tag := a.plain, `"`+a.tag+`"`
	h := c.Response().Header()
	h.Set(echo.HeaderContentSecurityPolicy, p.policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set(echo.HeaderCacheControl, a.cacheControl)
	if a.small != nil {
		h.Add(echo.HeaderVary, echo.HeaderAcceptEncoding)
		if takesGzip(c.Request().Header.Get(echo.HeaderAcceptEncoding)) {
			body, tag = a.small, `"`+a.tag+`-gzip"`
			h.Set(echo.HeaderContentEncoding, "gzip")
		}
	}
	h.Set("ETag", tag)
	if matches(c.Request().Header.Get("If-None-Match"), tag) {
		h.Del(echo.HeaderContentEncoding)
		return c.NoContent(http.StatusNotModified)
	}
	return c.Blob(http.StatusOK, a.mediaType, body)
}

// takesGzip tells whether a client names gzip. One that takes it only by a star gets the plain file, which is never wrong.
func takesGzip(accepted string) bool {
	for coding := range strings.SplitSeq(accepted, ",") {
		name, params, err := mime.ParseMediaType(coding)
		if err == nil && name == "gzip" {
			return strings.Trim(params["q"], "0.") != "" || params["q"] == ""
		}
	}
	return false
}

// matches tells whether If-None-Match names the tag.
func matches(known, tag string) bool {
	for one := range strings.SplitSeq(known, ",") {
		if one = strings.TrimPrefix(strings.TrimSpace(one), "W/"); one == tag || one == "*" {
			return true
		}
	}
	return false
}
