package api

import (
	"context"
	"sync/atomic"

	"github.com/sluicedev/sluice/pkg/queue"
)

// placeKey is who stands in line alike: jobs of one line and priority, as one tenant sees them.
type placeKey struct {
	line     string
	priority int
	tenant   string
}

// place tells newcomers how many jobs are ahead of them. It is counted at most once in watchAge, right after a job was
// queued, and anew after a batch; single jobs that this process queues meanwhile come behind. What starts meanwhile, or
// what other processes queue, is not seen before the next count: the answer to an enqueue is a guess, which GET of the
// job makes exact.
type place struct {
	queued   int  // jobs in line, the first newcomer among them
	shared   bool // some are other tenants'
	newcomer atomic.Int64
}

func (s *Server) readPlace(ctx context.Context, k placeKey) (*place, error) {
	queued, others, err := s.queue.Ahead(ctx, k.line, k.priority, k.tenant)
	return &place{queued: queued, shared: others > 0}, err
}

// next is how many are ahead of the next newcomer.
func (p *place) next() int {
	behind := int(p.newcomer.Add(1)) - 1
	if p.queued >= queue.MaxPosition {
		return queue.MaxPosition
	}
	return min(max(0, p.queued-1+behind), queue.MaxPosition)
}
