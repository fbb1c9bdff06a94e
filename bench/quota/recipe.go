package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicedev/sluice/bench/rig"
)

// recipe is what everybody writes first: pop, call, on a 429 wait Retry-After plus full jitter. Nothing is shared between
// its processes but the list of jobs, which costs it nothing here.
type recipe struct{ processes }

const (
	recipeAttempts = 5 // tries that fail otherwise than by a 429
	recipeBackoff  = 300 * time.Millisecond
	breakerRun     = 5
	breakerOpen    = 20 * time.Second
)

func (c recipe) name() string { return c.of("recipe") }

func (c recipe) start(_ context.Context, at place) (fleet, error) {
	ctx, cancel := context.WithCancel(context.Background())
	return &recipeFleet{processes: c.processes, at: at, ctx: ctx, cancel: cancel}, nil
}

type recipeFleet struct {
	processes
	at      place
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	gaveUp  atomic.Int64
}

func (f *recipeFleet) load(_ context.Context, jobs []job) error {
	list := make(chan job, len(jobs))
	for _, j := range jobs {
		list <- j
	}
	close(list)
	for range f.processes {
		p := &recipeProcess{fleet: f, client: newClient(f.at.baseURL, f.slots())}
		for range f.slots() {
			f.running.Go(func() { p.work(list) })
		}
	}
	return nil
}

func (f *recipeFleet) failed(context.Context) (int, error) { return int(f.gaveUp.Load()), nil }

// slots are one process's.
func (f *recipeFleet) slots() int { return f.at.slots / int(f.processes) }

func (f *recipeFleet) stop() error {
	f.cancel()
	f.running.Wait()
	return nil
}

type recipeProcess struct {
	fleet   *recipeFleet
	client  client
	breaker recipeBreaker
}

func (p *recipeProcess) work(list <-chan job) {
	defer p.client.close()
	for j := range list {
		if !p.do(p.fleet.ctx, j) {
			return
		}
	}
}

// do tries until the job has ended; false when ctx ended first.
func (p *recipeProcess) do(ctx context.Context, j job) bool {
	strikes, failures := 0, 0
	for {
		generation, ok := p.breaker.pass(ctx)
		if !ok {
			return false
		}
		got, err := p.client.call(ctx, fmt.Sprintf("%s/%d", j.input, strikes+failures+1), j)
		if ctx.Err() != nil {
			return false
		}
		down := err != nil || got.status >= http.StatusInternalServerError
		p.breaker.report(generation, !down)
		var wait time.Duration
		switch {
		case got.status == http.StatusTooManyRequests:
			strikes++
			wait = limited(got.retryAfter, strikes)
		case down && failures+1 < recipeAttempts:
			failures++
			wait = time.Duration(rand.Float64() * float64(recipeBackoff<<failures))
		case down || got.status != http.StatusOK:
			p.fleet.gaveUp.Add(1)
			return true
		default:
			return true
		}
		if !rig.Pause(ctx, wait) {
			return false
		}
	}
}

// recipeBreaker is one process's own, as libraries have it: what a call from before a change brings is not counted.
type recipeBreaker struct {
	mu         sync.Mutex
	generation int // grows with every change
	run        int // failures in a row
	until      time.Time
	probing    bool
}

// pass waits while the breaker is open, and lets one caller through when its time is over. It tells the generation that
// the call belongs to; false when ctx ended first.
func (b *recipeBreaker) pass(ctx context.Context) (generation int, ok bool) {
	for {
		generation, wait := b.wait(time.Now())
		if wait == 0 {
			return generation, ctx.Err() == nil
		}
		if !rig.Pause(ctx, wait) {
			return 0, false
		}
	}
}

const probeLook = 50 * time.Millisecond // between looks at whether the probe is back

func (b *recipeBreaker) wait(now time.Time) (generation int, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.run < breakerRun:
	case now.Before(b.until):
		wait = b.until.Sub(now)
	case b.probing:
		wait = probeLook
	default:
		b.probing = true
		b.generation++
	}
	return b.generation, wait
}

func (b *recipeBreaker) report(generation int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case generation != b.generation:
		return
	case ok && b.probing:
		b.generation++
	}
	if b.probing = false; ok {
		b.run = 0
		return
	}
	if b.run++; b.run >= breakerRun {
		b.generation++
		b.until = time.Now().Add(breakerOpen)
	}
}
