package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/sluicedev/sluice/bench/rig"
	"github.com/sluicedev/sluice/pkg/llm/llmtest"
)

const (
	startClients = 64          // enough that none is late at 500 jobs/s
	lateLimit    = time.Minute // for the last jobs to start, after the last was accepted
)

// starts are the times from a job's enqueue until its work begins.
func (b *bench) starts(ctx context.Context) error {
	for _, rate := range b.rates {
		test := rateTest(rate)
		p := pace{Clients: startClients, Warm: b.startWarm, Span: b.startSpan, Rate: float64(rate)}
		if err := b.repeat(ctx, "enqueue to start", b.trials, []entry{
			b.toStart(test, sluiceStart{}, p), b.toStart(test, riverStart{riverFastest}, p), b.toStart(test, riverStart{riverDefaults}, p),
		}); err != nil {
			return err
		}
	}
	return nil
}

// starter is a contender with a way in over HTTP and one worker.
type starter interface {
	front
	// work starts a worker and returns once it is ready for the first job.
	work(ctx context.Context, b *bench, at database) (starting, error)
}

// starting is a worker at work: begun tells when the provider received the call for each job, by its id.
type starting struct {
	begun *begun
	stop  func() error
}

// begun are the times at which calls came. Of a job that is called for more than once, the first counts.
type begun struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (b *begun) note(job string, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at == nil {
		b.at = map[string]time.Time{}
	}
	if _, known := b.at[job]; !known {
		b.at[job] = at
	}
}

func (b *begun) of(job string) (time.Time, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.at[job]
	return at, ok
}

func (b *bench) toStart(test string, s starter, p pace) entry {
	return entry{test, s.name(), func(ctx context.Context) (figures, error) {
		return b.fresh(ctx, s, func(at database) (got figures, err error) {
			w, err := s.work(ctx, b, at)
			if err != nil {
				return nil, err
			}
			defer func() { err = errors.Join(err, w.stop()) }()
			all, err := b.send(ctx, s, at, clientsSpec{Pace: p, Batch: 1, Payload: lean(0).payload})
			if err != nil {
				return nil, err
			}
			return started(ctx, all, w.begun)
		})
	}}
}

var (
	startP50     = figure{"p50 ms", 2}
	startP95     = figure{"p95 ms", 2}
	startP99     = figure{"p99 ms", 2}
	fromSentP50  = figure{"from sending: p50 ms", 2}
	fromSentP99  = figure{"from sending: p99 ms", 2}
	startedCount = figure{"jobs", 0}
)

// started waits until all jobs have begun.
func started(ctx context.Context, all []sent, b *begun) (figures, error) {
	ctx, cancel := context.WithTimeout(ctx, lateLimit)
	defer cancel()
	var accepted, sent []time.Duration
	for _, s := range all {
		at, ok := b.of(s.Job)
		for ; !ok; at, ok = b.of(s.Job) {
			if !rig.Pause(ctx, lookEvery) { // other processes tell it
				return nil, fmt.Errorf("job %s has not begun: %w", s.Job, ctx.Err())
			}
		}
		accepted, sent = append(accepted, at.Sub(s.Until)), append(sent, at.Sub(s.From))
	}
	return figures{
		startP50: quantile(accepted, 0.50), startP95: quantile(accepted, 0.95), startP99: quantile(accepted, 0.99),
		fromSentP50: quantile(sent, 0.50), fromSentP99: quantile(sent, 0.99), startedCount: float64(len(all)),
	}, nil
}

// clocked is a provider that tells when each call arrived.
func clocked() (*llmtest.Server, *begun, error) {
	times := &begun{}
	provider, err := llmtest.Listen("127.0.0.1:0", llmtest.Decide(func(c llmtest.Call) string {
		times.note(jobOf(c.ID), time.Now())
		return ""
	}))
	return provider, times, err
}

// sluiceStart is bin/api and bin/worker.
type sluiceStart struct{ sluiceFront }

func (s sluiceStart) clients(spec clientsSpec) clientsSpec {
	spec.Type = "call"
	return s.sluiceFront.clients(spec)
}

func (sluiceStart) work(ctx context.Context, b *bench, at database) (starting, error) {
	provider, times, err := clocked()
	if err != nil {
		return starting{}, err
	}
	worker, err := b.caller(ctx, at, provider, 100)
	if err != nil {
		return starting{}, errors.Join(err, provider.Close())
	}
	return starting{times, func() error {
		worker.Stop(stopLimit)
		return provider.Close()
	}}, nil
}

// riverStart is the yardstick and a worker of River, whose handler makes the same call in the same way.
type riverStart struct{ riverQueue }

func (r riverStart) server(b *bench, at database) (*exec.Cmd, error) {
	return riverFront(r).server(b, at)
}

func (r riverStart) clients(spec clientsSpec) clientsSpec {
	return riverFront(r).clients(spec)
}

func (r riverStart) work(ctx context.Context, b *bench, at database) (starting, error) {
	provider, times, err := clocked()
	if err != nil {
		return starting{}, err
	}
	crew, err := hire(ctx, 1, func() (*exec.Cmd, error) {
		return self("river worker", riverSpec{URL: at.url, Settings: r.settings, Provider: provider.BaseURL()})
	})
	if err != nil {
		return starting{}, errors.Join(err, provider.Close())
	}
	return starting{times, func() error { return errors.Join(crew.stop(), provider.Close()) }}, crew.begin()
}

// jobOf is the job that a call is made for: the name of a call is the job's and the number of the try.
func jobOf(call string) string {
	job, _, _ := strings.Cut(call, "/")
	return job
}
