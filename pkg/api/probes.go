package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/sluicedev/sluice/pkg/pg"
)

// GetLive is GET /livez.
func (s *Server) GetLive(c echo.Context) error { return writeJSON(c, http.StatusOK, Yes{Ok: true}) }

// GetReady is GET /readyz.
func (s *Server) GetReady(c echo.Context) error {
	if s.stopping.Load() {
		return &refusal{status: http.StatusServiceUnavailable, detail: "this process is stopping"}
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), s.limits.probe)
	defer cancel()
	current, wanted, err := pg.Version(ctx, s.db)
	if err != nil {
		return err
	}
	if current < wanted { // a newer schema is fine: migrations keep the previous binaries working
		return &refusal{status: http.StatusServiceUnavailable,
			detail: fmt.Sprintf("the database's schema is at version %d and this needs %d: run `api migrate`", current, wanted)}
	}
	return writeJSON(c, http.StatusOK, Yes{Ok: true})
}

// GetMetrics is GET /metrics.
func (s *Server) GetMetrics(c echo.Context) error {
	s.metrics.ServeHTTP(c.Response(), c.Request())
	return nil
}

const healthPath = "/api/health"

// GetHealth is GET /api/health.
func (s *Server) GetHealth(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), s.limits.probe)
	defer cancel()
	health, err := s.health(ctx, s.reach(c))
	if err != nil {
		return err
	}
	return writeJSON(c, http.StatusOK, health)
}

func (s *Server) health(ctx context.Context, tenant string) (Health, error) {
	counts, err := s.counts.get(ctx, tenant)
	if err != nil {
		return Health{}, err
	}
	fleet, err := s.fleet.get(ctx, everybody)
	if err != nil {
		return Health{}, err
	}
	worker := HealthWorker{
		Breaker: HealthBreaker{State: BreakerStateClosed},
		Queue:   HealthQueue{Queued: counts.Queued, Running: counts.Running, Delayed: counts.Delayed, Failed: counts.Failed},
	}
	if worst := fleet.worst(); worst != nil {
		worker.Breaker = HealthBreaker{State: BreakerState(worst.State), Failures: worst.Failures}
		if worst.OpenedAt != nil {
			worker.Breaker.OpenedAt = new(worst.OpenedAt.UnixMilli())
		}
	}
	return Health{Ok: true, Worker: worker}, nil
}
