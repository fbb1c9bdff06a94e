package api

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/sluicedev/sluice/pkg/jobtype"
)

// ListTypes is GET /api/ai/types.
func (s *Server) ListTypes(c echo.Context) error {
	types := s.queue.Types()
	list := TypeList{Types: make([]JobType, len(types))}
	for i, t := range types {
		list.Types[i] = wireType(t)
	}
	return writeJSON(c, http.StatusOK, list)
}

func wireType(t jobtype.Type) JobType {
	return JobType{
		Name: t.Name, Upstream: orNull(t.UpstreamName(t.Model)), Model: orNull(t.Model),
		Priority: t.Priority, MaxAttempts: t.MaxAttempts, Custom: t.Custom,
	}
}
