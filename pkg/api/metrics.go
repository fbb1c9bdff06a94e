package api

import (
	"context"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/upstream"
)

// know tells which routes are counted under their own names.
func (s *Server) know(routes []*echo.Route) {
	s.known = map[string]bool{}
	for _, r := range routes {
		s.known[r.Method+" "+r.Path] = true
	}
}

// unmatched is the route of requests that no route took: their paths are without bound.
const unmatched = "none"

// count is the middleware that tells of a request when it is answered.
func (s *Server) count(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		if err := next(c); err != nil {
			c.Error(err) // writes the problem, so that the status is known
		}
		method, route := c.Request().Method, c.Path()
		if !s.known[method+" "+route] {
			method, route = unmatched, unmatched
		}
		s.answered(method, route, c.Response().Status, time.Since(start))
		return nil
	}
}

// ProbeTimeout is how long whoever asks for Counts, Upstreams and Backlog should wait for all of them.
const ProbeTimeout = probeTimeout

// Counts counts everybody's jobs. Like Upstreams and Backlog, it is at most a second old, however many ask.
func (s *Server) Counts(ctx context.Context) (queue.Counts, error) {
	return s.counts.get(ctx, everybody)
}

// Upstreams is what is known of every upstream.
func (s *Server) Upstreams(ctx context.Context) ([]upstream.Status, error) {
	f, err := s.fleet.get(ctx, everybody)
	return f.upstreams, err
}

// Streams are the event streams that are open at this process.
func (s *Server) Streams() int64 { return s.streams.inside.Load() }

// Backlog counts the queued jobs that could start now.
func (s *Server) Backlog(ctx context.Context) (int64, error) { return s.backlog.get(ctx, everybody) }
