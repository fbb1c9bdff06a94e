package api

import (
	"cmp"
	"context"
	"time"

	"github.com/sluicedev/sluice/pkg/upstream"
)

// everybody is the key of what is watched for all tenants.
const everybody = ""

// fleet is what is known of every upstream.
type fleet struct {
	upstreams []upstream.Status // by name
	readAt    time.Time
}

func (s *Server) readFleet(ctx context.Context, _ string) (fleet, error) {
	all, err := s.upstreams.List(ctx)
	return fleet{upstreams: all, readAt: time.Now()}, err
}

// now is the database's time: as it was when the rows were read, moved on by our own clock, which is only trusted with
// the second in between.
func (f fleet) now() time.Time {
	if len(f.upstreams) == 0 {
		return time.Now()
	}
	return f.upstreams[0].Now.Add(time.Since(f.readAt))
}

func (f fleet) find(name *string) *upstream.Status {
	if name == nil {
		return nil
	}
	for i := range f.upstreams {
		if f.upstreams[i].Name == *name {
			return &f.upstreams[i]
		}
	}
	return nil
}

// worst is the upstream whose breaker is furthest from closed; nil, where there is none.
func (f fleet) worst() *upstream.Status {
	var worst *upstream.Status
	for i := range f.upstreams {
		up := &f.upstreams[i]
		if worst == nil || cmp.Or(cmp.Compare(openness(up.State), openness(worst.State)), cmp.Compare(up.Failures, worst.Failures)) > 0 {
			worst = up
		}
	}
	return worst
}

// openness orders breaker states by how far they are from closed.
func openness(state string) int {
	switch BreakerState(state) {
	case BreakerStateOpen:
		return 2
	case BreakerStateHalfOpen:
		return 1
	}
	return 0
}
