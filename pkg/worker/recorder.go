package worker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/queue"
)

// Bounds of one statement that writes ends.
const (
	recordJobs  = 512
	recordBytes = 8 << 20
	recordPause = 200 * time.Millisecond // after a statement that failed
)

// recorder writes ends. One that comes alone is written at once, for a result that is not recorded may be paid for twice;
// those that come while a statement is under way share the next one.
type recorder struct {
	life *life
	wake chan struct{}

	mu     sync.Mutex
	queue  []pending
	limit  int  // jobs in the next statement
	closed bool // what comes now is not written any more
}

// pending is an end that is not written yet.
type pending struct {
	end     queue.End
	attempt *attempt
}

func newRecorder(l *life) *recorder {
	return &recorder{life: l, wake: make(chan struct{}, 1), limit: recordJobs}
}

// record has an end written. The attempt is released when it is, or when that is given up.
func (r *recorder) record(end queue.End, a *attempt) {
	p := pending{end, a}
	r.mu.Lock()
	closed := r.closed
	if !closed {
		r.queue = append(r.queue, p)
	}
	r.mu.Unlock()
	if closed {
		r.life.release([]pending{p})
		return
	}
	nudge(r.wake)
}

func (r *recorder) run(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer r.close()
	context.AfterFunc(r.life.records, stop)
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
			r.writeAll(ctx)
		}
	}
}

// writeAll writes all that there is, until ctx ends.
func (r *recorder) writeAll(ctx context.Context) {
	for batch := r.take(); len(batch) > 0; batch = r.take() {
		err := r.write(ctx, batch)
		if err == nil {
			continue
		}
		r.life.log.Warn("ends could not be written; trying on", "jobs", len(batch), "error", err)
		r.putBack(batch)
		if !pause(ctx, recordPause) {
			return
		}
	}
}

// close releases what could not be written; rescue has to find it.
func (r *recorder) close() {
	r.mu.Lock()
	left := r.queue
	r.queue, r.closed = nil, true
	r.mu.Unlock()
	r.life.release(left)
}

func (r *recorder) take() []pending {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, bytes := 0, 0
	for n < len(r.queue) && n < r.limit && (n == 0 || bytes < recordBytes) {
		bytes += len(r.queue[n].end.Result)
		n++
	}
	batch := slices.Clone(r.queue[:n])
	r.queue = slices.Delete(r.queue, 0, n) // which lets go of the results
	return batch
}

// putBack has a batch written again, in smaller pieces: one that is too much for its time would be so for ever. An end that
// fails alone goes behind the others, for it may be at fault itself (its row's page is broken, a trigger refuses it). To
// repeat a batch after an unclear failure is safe: the fence lets the second one through to nothing.
func (r *recorder) putBack(batch []pending) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(batch) == 1 {
		r.queue = append(r.queue, batch...)
	} else {
		r.queue = slices.Insert(r.queue, 0, batch...)
	}
	r.limit = max(1, len(batch)/2)
}

func (r *recorder) write(ctx context.Context, batch []pending) error {
	ends := make([]queue.End, len(batch))
	for i, p := range batch {
		ends[i] = p.end
	}
	sent := time.Now()
	held, err := bounded(ctx, func(ctx context.Context) ([]uuid.UUID, error) {
		return r.life.queue.End(ctx, r.life.id, ends...)
	})
	if err != nil {
		return err
	}
	late := len(ends) - len(held)
	r.life.cfg.Hooks.Recorded(len(ends), late, time.Since(sent))
	if late > 0 {
		r.life.log.Info("some ends came too late: those jobs were cancelled, or taken by others", "jobs", late)
	}
	r.life.changed(len(held))
	r.life.release(batch)
	r.mu.Lock()
	r.limit = min(2*r.limit, recordJobs)
	r.mu.Unlock()
	return nil
}
