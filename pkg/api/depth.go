package api

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/sluicedev/sluice/pkg/queue"
)

// depth keeps the jobs of a tenant that wait (queued or delayed) at a cap. The narrow tables are counted at most once a
// second, for all tenants at once, and what this process stored since is added; so one process never goes over the cap,
// and several do by what the others stored within the last second. Nobody is refused on a count that is older than
// recountAge: jobs that came and started since would stand in the way.
type depth struct {
	most  int64 // 0: no cap
	count func(ctx context.Context) (map[string]int64, error)

	counting chan struct{} // holds a token while somebody counts
	mu       sync.Mutex
	counted  map[string]int64 // by tenant, as all that follow
	at       time.Time        // when the count began
	pending  map[string]int64 // admitted, and not stored yet
	stored   map[string]int64 // since the count began
}

func newDepth(most int, count func(ctx context.Context) (map[string]int64, error)) *depth {
	return &depth{most: int64(most), count: count, counting: make(chan struct{}, 1), pending: map[string]int64{}, stored: map[string]int64{}}
}

// admit tells whether a tenant has room for n more jobs, and keeps it until settle.
func (d *depth) admit(ctx context.Context, tenant string, n int) (bool, error) {
	for _, age := range []time.Duration{watchAge, recountAge} {
		if err := d.recount(ctx, age); err != nil {
			return false, err
		}
		if d.take(tenant, int64(n)) {
			return true, nil
		}
	}
	return false, nil
}

func (d *depth) take(tenant string, n int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n > 0 && d.counted[tenant]+d.pending[tenant]+d.stored[tenant]+n > d.most {
		return false
	}
	d.pending[tenant] += n
	return true
}

// settle gives back the room for n jobs, of which so many are stored.
func (d *depth) settle(tenant string, n, stored int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	add(d.pending, tenant, -int64(n))
	add(d.stored, tenant, int64(stored))
}

// add keeps no zeros: tenants come and go.
func add(to map[string]int64, tenant string, n int64) {
	if to[tenant] += n; to[tenant] == 0 {
		delete(to, tenant)
	}
}

// recount counts anew unless a count began within the given age. One does it at a time.
func (d *depth) recount(ctx context.Context, age time.Duration) error {
	if _, fresh := d.begun(age); fresh {
		return nil
	}
	select {
	case d.counting <- struct{}{}:
		defer func() { <-d.counting }()
	case <-ctx.Done():
		return ctx.Err()
	}
	before, fresh := d.begun(age)
	if fresh {
		return nil // while we waited
	}
	at := time.Now()
	counted, err := d.count(ctx)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counted, d.at = counted, at
	for tenant, n := range before { // the count has seen them
		add(d.stored, tenant, -n)
	}
	return nil
}

// begun tells whether the latest count began within the given age, and what was stored since.
func (d *depth) begun(age time.Duration) (stored map[string]int64, fresh bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.counted != nil && time.Since(d.at) < age {
		return nil, true
	}
	return maps.Clone(d.stored), false
}

// store enqueues a tenant's jobs, if there is room for all of them.
func (s *Server) store(ctx context.Context, tenant string, jobs queue.Batch) (made []queue.Enqueued, err error) {
	if s.depth.most == 0 {
		return s.enqueue(ctx, jobs)
	}
	n := jobs.Len
	fits, err := s.depth.admit(ctx, tenant, n)
	if err == nil && !fits {
		// Earlier jobs that are asked for again need no room, and what would never be taken should not wait for any.
		if n, err = s.queue.Fresh(ctx, jobs); err == nil {
			fits, err = s.depth.admit(ctx, tenant, n)
		}
	}
	switch {
	case err != nil:
		return nil, err
	case !fits:
		return nil, s.depth.full(n)
	}
	defer func() {
		stored := 0
		for _, m := range made {
			if !m.Replayed {
				stored++
			}
		}
		s.depth.settle(tenant, n, stored)
	}()
	return s.enqueue(ctx, jobs)
}

// enqueue lets a job that comes alone share its statement with others.
func (s *Server) enqueue(ctx context.Context, jobs queue.Batch) ([]queue.Enqueued, error) {
	if jobs.Len != 1 {
		return s.intake.EnqueueAll(ctx, jobs)
	}
	job, err := jobs.Job(0)
	if err != nil {
		return nil, err
	}
	made, err := s.intake.Enqueue(ctx, job)
	if err != nil {
		return nil, err
	}
	return []queue.Enqueued{made}, nil
}

func (d *depth) full(n int) *refusal {
	detail := fmt.Sprintf("nothing of this was stored: at most %d jobs may wait at once, and with these %d there would be more; "+
		"try again when some have started", d.most, n)
	if int64(n) > d.most {
		detail = fmt.Sprintf("nothing of this was stored: at most %d jobs may wait at once, and these are %d; send fewer at a time", d.most, n)
	}
	return &refusal{status: http.StatusTooManyRequests, detail: detail}
}
