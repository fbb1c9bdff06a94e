package api

import (
	"io"
	"net/http"
	"sync/atomic"

	"github.com/labstack/echo/v4"
)

// bodies bounds the memory that all requests' bodies take together. A request counts with what was read of it, so that
// a promise alone takes no room, until it is answered.
type bodies struct {
	most int64
	held atomic.Int64
}

// bound is the middleware that refuses the rest of a body when there is no room for it.
func (b *bodies) bound(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		body := &boundBody{ReadCloser: r.Body, of: b}
		r.Body = body
		defer func() {
			r.Body = body.ReadCloser // what is thrown away takes no room
			body.release()
		}()
		return next(c)
	}
}

type boundBody struct {
	io.ReadCloser
	of   *bodies
	held int64
}

// release gives the room back, once what was read is not needed any more.
func (b *boundBody) release() {
	b.of.held.Add(-b.held)
	b.held = 0
}

func (b *boundBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.held += int64(n)
	if b.of.held.Add(int64(n)) > b.of.most {
		return 0, &refusal{status: http.StatusServiceUnavailable, detail: "too many large requests are being read at the moment; nothing of this was stored, try again"}
	}
	return n, err
}
