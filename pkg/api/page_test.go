package api

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// get asks for a path as it is written, without net/http's client, which would tidy it or unpack the answer.
func (s *site) get(line string, headers ...string) answer {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	must(s.t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n", line, strings.Join(append(headers, ""), "\r\n"))
	must(s.t, err)
	method, _, _ := strings.Cut(line, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	must(s.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(s.t, err)
	return answer{resp, body}
}

var assetPath = regexp.MustCompile(`/assets/[\w.-]+`)

// assets are the files that the page names.
func (s *site) assets() []string {
	s.t.Helper()
	found := assetPath.FindAllString(string(s.get("GET /").body), -1)
	if len(found) < 2 {
		s.t.Fatalf("the page names %v", found)
	}
	return found
}

func TestPage(t *testing.T) {
	t.Parallel()
	s := open(t)
	index := s.get("GET /")
	h := index.Header
	if index.StatusCode != http.StatusOK || h.Get("Content-Type") != "text/html; charset=utf-8" || h.Get("Cache-Control") != "no-cache" ||
		!strings.Contains(string(index.body), "<title>Sluice</title>") {
		t.Errorf("%d %v\n%s", index.StatusCode, h, index.body)
	}
	const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
	if h.Get("Content-Security-Policy") != policy || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("headers %v", h)
	}
	if known := s.get("GET /", "If-None-Match: "+h.Get("ETag")); known.StatusCode != http.StatusNotModified || len(known.body) != 0 {
		t.Errorf("known: %d, %d bytes", known.StatusCode, len(known.body))
	}
	if bytes.Contains(index.body, []byte("http://")) || bytes.Contains(index.body, []byte("https://")) {
		t.Errorf("the page names another origin: %s", index.body)
	}
	if head := s.get("HEAD /"); head.StatusCode != http.StatusOK || len(head.body) != 0 || head.Header.Get("ETag") != h.Get("ETag") {
		t.Errorf("HEAD: %d %v", head.StatusCode, head.Header)
	}
	if part := s.get("GET /", "Range: bytes=0-4"); part.StatusCode != http.StatusOK || !bytes.Equal(part.body, index.body) {
		t.Errorf("a range: %d", part.StatusCode)
	}
}

func TestAssetsAreKeptForeverAndPacked(t *testing.T) {
	t.Parallel()
	s := open(t)
	for _, path := range s.assets() {
		plain := s.get("GET "+path, "Accept-Encoding: br, gzip;q=0")
		if plain.StatusCode != http.StatusOK || !strings.Contains(plain.Header.Get("Cache-Control"), "immutable") || plain.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: %d %v", path, plain.StatusCode, plain.Header)
		}
		packed := s.get("GET "+path, "Accept-Encoding: gzip, br")
		if packed.Header.Get("Content-Encoding") != "gzip" {
			continue // too small to gain
		}
		r, err := gzip.NewReader(bytes.NewReader(packed.body))
		must(t, err)
		unpacked, err := io.ReadAll(r)
		must(t, err)
		if !bytes.Equal(unpacked, plain.body) || packed.Header.Get("ETag") == plain.Header.Get("ETag") || packed.Header.Get("Vary") == "" {
			t.Errorf("%s: packed it is another one: %v", path, packed.Header)
		}
	}
}

// Whatever is not a file of the page, by its exact path, is a problem and never a page.
func TestPathsThatAreNoFileOfThePage(t *testing.T) {
	t.Parallel()
	s := open(t)
	asset := s.assets()[0]
	for _, path := range []string{
		"/assets/../", "/assets/..", "/assets/../index.html", "/assets/%2e%2e/", "/assets/%2e%2e%2findex.html", "//", "//assets/", "/\\", "/assets\\..\\",
		"/assets%2f" + asset[len("/assets/"):], "/%61ssets/" + asset[len("/assets/"):], asset + "%00", asset + "/", asset + "/..", "/index.html", "/index.html/..", "/dist/index.html",
		"/assets", "/assets/", "/embed.go", "/..%2fembed.go", "/assets/" + strings.Repeat("a", 20_000), "/page", "/api", "/%2e", "/./",
	} {
		a := s.get("GET " + path)
		if a.StatusCode != http.StatusNotFound && a.StatusCode != http.StatusBadRequest {
			t.Errorf("%.60s: %d", path, a.StatusCode)
		}
		s.isProblem(a)
	}
	if a := s.get("POST /", "Content-Length: 0"); a.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST /: %d", a.StatusCode)
	}
}

// The page is open where keys are asked for, and says so; in the demo it may reach the simulator, and nothing else.
func TestThePageKnowsWhereItIs(t *testing.T) {
	t.Parallel()
	about := func(s *site) (a About) {
		answer := s.get("GET /page.json")
		if answer.StatusCode != http.StatusOK || answer.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("page.json: %d %v", answer.StatusCode, answer.Header)
		}
		must(t, json.Unmarshal(answer.body, &a))
		return a
	}
	plain := open(t)
	if a := about(plain); a.Auth || a.Simulator != nil {
		t.Errorf("%+v", a)
	}
	guarded := openGuarded(t, asItIs)
	if a := about(guarded.site); !a.Auth {
		t.Errorf("with keys: %+v", a)
	}
	if a := guarded.get("GET /"); a.StatusCode != http.StatusOK {
		t.Errorf("with keys, the page: %d", a.StatusCode)
	}
	const simulator = "http://127.0.0.1:4000"
	demo := openWith(t, plain.pool, func(s *Server) {
		e, err := s.routes(nil, simulator)
		must(t, err)
		s.echo = e
	})
	if a := about(demo); a.Simulator == nil || *a.Simulator != simulator {
		t.Errorf("in the demo: %+v", a)
	}
	if policy := demo.get("GET /").Header.Get("Content-Security-Policy"); !strings.Contains(policy, "connect-src 'self' "+simulator+";") {
		t.Errorf("in the demo: %s", policy)
	}
}
