package api

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/upstream"
)

// GetStatus is GET /api/ai/status.
func (s *Server) GetStatus(c echo.Context) error {
	status, err := s.status(c.Request().Context(), s.tenant(c), s.reach(c))
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, status)
}

// status is the tenant's; reach tells whose calls in flight are counted.
func (s *Server) status(ctx context.Context, tenant, reach string) (Status, error) {
	counts, err := s.counts.get(ctx, tenant)
	if err != nil {
		return Status{}, err
	}
	fleet, err := s.fleet.get(ctx, everybody)
	if err != nil {
		return Status{}, err
	}
	inFlight, err := s.inFlight.get(ctx, reach)
	if err != nil {
		return Status{}, err
	}
	status := Status{Now: fleet.now().UTC(), Queue: wireCounts(counts), Upstreams: make([]Upstream, len(fleet.upstreams))}
	for i, up := range fleet.upstreams {
		status.Upstreams[i] = wireUpstream(up, inFlight[up.Name])
	}
	return status, nil
}

// PauseUpstream is POST /api/ai/upstreams/{name}/pause.
func (s *Server) PauseUpstream(c echo.Context, name UpstreamName) error {
	return s.operate(c, s.upstreams.Pause, name)
}

// ResumeUpstream is POST /api/ai/upstreams/{name}/resume.
func (s *Server) ResumeUpstream(c echo.Context, name UpstreamName) error {
	return s.operate(c, s.upstreams.Resume, name)
}

// operate puts an operator's hand on a breaker.
func (s *Server) operate(c echo.Context, turn func(ctx context.Context, name, by string) (upstream.Status, error), name string) error {
	ctx := c.Request().Context()
	status, err := turn(ctx, name, operator(c))
	if err != nil {
		return err
	}
	s.fleet.forget(everybody)
	inFlight, err := s.inFlight.get(ctx, everybody)
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, wireUpstream(status, inFlight[name]))
}

// operator names whose hand it is, for the audit.
func operator(c echo.Context) string {
	if h, ok := holder(c); ok {
		return "key " + h.KeyID + " " + c.RealIP()
	}
	return "api " + c.RealIP()
}

func wireCounts(n queue.Counts) QueueCounts {
	return QueueCounts{
		Queued: n.Queued, Running: n.Running, Delayed: n.Delayed, Failed: n.Failed, Done: n.Done, Cancelled: n.Cancelled,
		OldestQueuedSeconds: n.OldestQueued.Seconds(),
	}
}

func wireUpstream(up upstream.Status, inFlight int64) Upstream {
	return Upstream{
		Name: up.Name,
		Breaker: Breaker{
			State: BreakerState(up.State), Reason: orNull(up.Reason), Failures: up.Failures,
			OpenedAt: utc(up.OpenedAt), RetryAt: utc(up.RetryAt),
		},
		Quota:    Quota{Requests: wireDimension(up.Requests), Tokens: wireDimension(up.Tokens)},
		InFlight: inFlight,
	}
}

func wireDimension(d upstream.Dimension) Dimension {
	return Dimension{Limit: d.Limit, Remaining: d.Remaining, ResetsAt: utc(d.ResetsAt)}
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
