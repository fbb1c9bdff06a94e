package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sluicedev/sluice/bench/rig"
	"github.com/sluicedev/sluice/pkg/llm/llmtest"
)

// maxLog is more calls than any trial makes.
const maxLog = 1 << 20

// trial is one contender in one scenario.
type trial struct {
	contender contender
	scenario  scenario
	seed      uint64

	provider *llmtest.Server
	origin   time.Time       // of the provider's clock
	parked   *llmtest.Server // of the second upstream, if there is one
	fleet    fleet
}

// record is what a trial left behind. Its times are the provider's.
type record struct {
	contender string
	scenario  scenario

	calls    []llmtest.Call // that arrived before to
	from, to time.Duration  // measured
	down, up time.Duration  // the outage; 0, 0: none
	opened   time.Duration  // the breaker of the whole fleet; 0: there is none, or it did not
	left     int64          // in the bucket at the end
	settled  time.Duration  // from here on it is steady; 0: never
	stock    int64          // in the bucket then

	failed       int
	quotaTx      float64 // per worker and second
	quotaTxKnown bool
	books        *books // nil: it keeps none
}

// race runs trials at the same time. What it starts has ended when it returns.
func race(ctx context.Context, trials []*trial, p postgres) (records []record, err error) {
	defer func() { err = errors.Join(err, each(trials, func(_ int, t *trial) error { return t.stop() })) }()
	if err := each(trials, func(_ int, t *trial) error { return t.start(ctx, p) }); err != nil {
		return nil, err
	}
	records = make([]record, len(trials))
	err = each(trials, func(i int, t *trial) (err error) {
		records[i], err = t.measure(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return records, each(trials, func(i int, t *trial) error { return t.audit(ctx, &records[i]) })
}

// each does something to all trials at the same time.
func each(trials []*trial, do func(int, *trial) error) error {
	errs := make([]error, len(trials))
	var all sync.WaitGroup
	for i, t := range trials {
		all.Go(func() {
			if err := do(i, t); err != nil {
				errs[i] = fmt.Errorf("%s, %s: %w", t.scenario.name, t.contender.name(), err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (t *trial) start(ctx context.Context, p postgres) (err error) {
	t.origin = time.Now()
	t.provider, err = llmtest.Listen("127.0.0.1:0", llmtest.WithScript(t.scenario.script), llmtest.WithSeed(t.seed), llmtest.MaxCalls(maxLog))
	if err != nil {
		return err
	}
	at := place{
		run:     strings.ReplaceAll(t.scenario.name+" "+t.contender.name(), " ", "_"),
		baseURL: t.provider.BaseURL(), postgres: p, slots: t.scenario.slots,
	}
	if t.scenario.parked != nil {
		if t.parked, err = llmtest.Listen("127.0.0.1:0", llmtest.WithScript(t.scenario.parked.script)); err != nil {
			return err
		}
		at.parked = t.parked.BaseURL()
	}
	if t.fleet, err = t.contender.start(ctx, at); err != nil || t.parked == nil {
		return err
	}
	return t.fleet.(parker).park(ctx, t.scenario.parked.jobs)
}

func (t *trial) stop() error {
	errs := []error{t.stopFleet()}
	for _, provider := range []*llmtest.Server{t.provider, t.parked} {
		if provider != nil {
			errs = append(errs, provider.Close())
		}
	}
	return errors.Join(errs...)
}

// stopFleet may be called again.
func (t *trial) stopFleet() error {
	if t.fleet == nil {
		return nil
	}
	f := t.fleet
	t.fleet = nil
	return f.stop()
}

func (t *trial) now() time.Duration { return time.Since(t.origin) }

// measure hands over the jobs and watches for as long as the scenario says.
func (t *trial) measure(ctx context.Context) (rec record, err error) {
	rec = record{contender: t.contender.name(), scenario: t.scenario}
	statementsBefore, err := t.quotaStatements(ctx)
	if err != nil {
		return rec, err
	}
	if err := t.fleet.load(ctx, t.scenario.jobs(t.seed)); err != nil {
		return rec, err
	}
	rec.from = t.now()
	if err := t.begun(ctx); err != nil {
		return rec, err
	}
	if err := t.spend(ctx, &rec); err != nil {
		return rec, err
	}
	rec.to = t.now()
	rec.left = t.level()
	rec.calls = until(rec.to, t.provider.Calls())
	if rec.failed, err = t.fleet.failed(ctx); err != nil {
		return rec, err
	}
	statementsAfter, err := t.quotaStatements(ctx)
	if statementsBefore != nil && statementsAfter != nil {
		workers := t.fleet.(accountant).workers()
		rec.quotaTx = float64(*statementsAfter-*statementsBefore) / float64(workers) / (rec.to - rec.from).Seconds()
		rec.quotaTxKnown = true
	}
	return rec, err
}

// beginLimit bounds the wait for the fleet's first call.
const beginLimit = 2 * time.Minute

// begun waits for it: a machine that stands still for the whole span, which may be a second, is not to end up with a record of
// nothing.
func (t *trial) begun(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, beginLimit)
	defer cancel()
	if err := t.provider.AwaitCalls(ctx, 1); err != nil {
		return fmt.Errorf("wait for the first call: %w", err)
	}
	return nil
}

// audit stops the contender and reads its books: Postgres knows all of them only when those who wrote have gone.
func (t *trial) audit(ctx context.Context, rec *record) error {
	f, keepsBooks := t.fleet.(accountant)
	if err := t.stopFleet(); err != nil || !keepsBooks {
		return err
	}
	books, err := f.books(ctx)
	rec.books = &books
	if books.opened != nil {
		rec.opened = books.opened.Sub(t.origin)
	}
	return err
}

// spend lets the scenario's time go by, with all that happens in it.
func (t *trial) spend(ctx context.Context, rec *record) error {
	if t.scenario.neighbour != nil {
		ctx, stop := context.WithCancel(ctx)
		var running sync.WaitGroup
		defer running.Wait()
		defer stop()
		calls := t.scenario.neighbour(t.scenario, t.seed)
		running.Go(func() { neighbour(ctx, t.provider.BaseURL(), t.origin.Add(rec.from), calls) })
	}
	at := func(d time.Duration) { rig.Pause(ctx, rec.from+d-t.now()) }
	if t.scenario.up == 0 {
		at(t.scenario.settling())
		rec.settled, rec.stock = t.now(), t.level()
	} else {
		at(t.scenario.down)
		rec.down = t.now()
		t.provider.SetMode("down")
		at(t.scenario.up)
		rec.up = t.now()
		t.provider.SetMode("healthy")
	}
	at(t.scenario.span)
	return ctx.Err()
}

// level is what is left in the bucket that the scenario is about.
func (t *trial) level() int64 {
	level, called := t.provider.Levels()[model]
	switch {
	case !called:
		return t.scenario.limit
	case t.scenario.bound == tokens:
		return level.TokensRemaining
	}
	return level.RequestsRemaining
}

// quotaStatements is nil for a contender that has none, and where they cannot be counted.
func (t *trial) quotaStatements(ctx context.Context) (*int64, error) {
	f, ok := t.fleet.(accountant)
	if !ok {
		return nil, nil
	}
	n, known, err := f.quotaStatements(ctx)
	if err != nil || !known {
		return nil, err
	}
	return &n, nil
}

// until are the calls that arrived by then.
func until(to time.Duration, calls []llmtest.Call) []llmtest.Call {
	for i, c := range calls {
		if c.At > to {
			return calls[:i]
		}
	}
	return calls
}
