package worker

import (
	"context"
	"sync"
	"time"

	"github.com/sluicedev/sluice/pkg/queue"
)

// Bounds of one statement that writes ends.
const (
	recordJobs  = 256
	recordBytes = 8 << 20
	recordPause = time.Second // after a statement that failed
)

// recorder writes ends. One that comes alone is written at once, for a result that is not recorded may be paid for twice;
// those that come while a statement is under way share the next one.
type recorder struct {
	life *life
	wake chan struct{}
	quit chan struct{}

	mu    sync.Mutex
	queue []*pending
}

type pending struct {
	end     queue.End
	written chan struct{}
}

func newRecorder(l *life) *recorder {
	return &recorder{life: l, wake: make(chan struct{}, 1), quit: make(chan struct{})}
}

// record returns when the end is written, or given up.
func (r *recorder) record(a *attempt, end queue.End) {
	p := &pending{end: end, written: make(chan struct{})}
	r.mu.Lock()
	r.queue = append(r.queue, p)
	r.mu.Unlock()
	nudge(r.wake)
	select {
	case <-p.written:
	case <-r.quit:
	}
}

// giveUp lets every record return. It is called once, when the worker stops and Postgres does not answer.
func (r *recorder) giveUp() { close(r.quit) }

func (r *recorder) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
		for batch := r.take(); len(batch) > 0; batch = r.take() {
			if !r.write(ctx, batch) {
				return
			}
		}
	}
}

func (r *recorder) take() []*pending {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, bytes := 0, 0
	for n < len(r.queue) && n < recordJobs && (n == 0 || bytes < recordBytes) {
		bytes += len(r.queue[n].end.Result)
		n++
	}
	batch := r.queue[:n:n]
	r.queue = r.queue[n:]
	return batch
}

// write tries until it is written. To repeat it after an unclear failure is safe: the fence lets the second one through
// to nothing.
func (r *recorder) write(ctx context.Context, batch []*pending) bool {
	ends := make([]queue.End, len(batch))
	for i, p := range batch {
		ends[i] = p.end
	}
	for {
		held, err := bounded(ctx, func(ctx context.Context) (int, error) {
			held, err := r.life.queue.End(ctx, r.life.id, ends...)
			return len(held), err
		})
		if err == nil {
			if late := len(ends) - held; late > 0 {
				r.life.log.Info("some ends came too late: those jobs were cancelled, or taken by others", "jobs", late)
			}
			break
		}
		r.life.log.Warn("ends could not be written; trying on", "jobs", len(ends), "error", err)
		if !pause(ctx, recordPause) {
			return false
		}
	}
	for _, p := range batch {
		close(p.written)
	}
	return true
}
