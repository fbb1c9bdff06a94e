package main

import (
	"context"
	"fmt"
	"time"
)

const (
	settleFor      = 90 * time.Second // for a backlog to go before the next fault
	backWithin     = 30 * time.Second
	backShare      = 0.95
	maxBaseline    = 1.1  // of the load: more is a backlog that goes
	doneShare      = 0.95 // of the load: the rest is cancelled, refused or fails
	detectionSlack = 15 * time.Second
	breakerLook    = 12 * time.Second // calls that were under way at the heal may still open the breaker
	drainFor       = 4 * time.Minute  // the fifth try of a job may be more than a minute away
	lookEvery      = 250 * time.Millisecond
	mayMiss        = shortLease / 2 // that the machine may stand still before it has to be blamed itself
)

// outcome is what became of one fault.
type outcome struct {
	fault    string
	at       time.Duration // since the load began
	held     time.Duration
	baseline float64       // jobs done a second before it, at most what the load can give
	back     time.Duration // since the heal; negative: never seen
	note     string
	skipped  string
	found    []violation
}

// try goes through one fault: baseline, injection, heal, recovery, checks.
func (r *rig) try(ctx context.Context, f fault, began time.Time) (o outcome, err error) {
	o = outcome{fault: f.name, back: -1}
	if o.baseline, err = r.baseline(ctx); err != nil {
		return o, err
	}
	before, err := r.mark(ctx)
	if err != nil {
		return o, err
	}
	started := time.Now()
	o.at = started.Sub(began)
	heal, err := f.inject(ctx, r)
	if reason, ok := skipped(err); ok {
		o.skipped = reason
		return o, nil
	}
	if err != nil {
		return o, fmt.Errorf("%s: %w", f.name, err)
	}
	sleep(ctx, r.hold(f))
	if o.note, err = heal(ctx); err != nil {
		return o, fmt.Errorf("%s, healing: %w", f.name, err)
	}
	healed := time.Now()
	o.held = healed.Sub(started)
	if o.found, err = r.recovery(ctx, &o, healed); err != nil {
		return o, fmt.Errorf("%s, recovery: %w", f.name, err)
	}
	for _, check := range []func() ([]violation, error){
		func() ([]violation, error) { return r.check(ctx, false) },
		func() ([]violation, error) { return r.checkBlame(ctx, f, before) },
	} {
		more, err := check()
		if err != nil {
			return o, err
		}
		o.found = append(o.found, more...)
	}
	return o, nil
}

// mark is what was so before a fault.
type mark struct {
	at     time.Time
	living []string // workers
	event  int64    // the breakers' latest
}

const (
	livingSQL = `select id from workers where seen_at > clock_timestamp() - interval '3 seconds'`
	buriedSQL = `select id from unnest($1::text[]) as living(id) where not exists (select from workers w where w.id = living.id)`
	eventSQL  = `select coalesce(max(id), 0) from breaker_events`
	openedSQL = `select upstream || ' by ' || by from breaker_events where id > $1 and to_state = 'open' and reason = 'failures'`
)

func (r *rig) mark(ctx context.Context) (m mark, err error) {
	m.at = time.Now()
	if m.living, err = texts(ctx, r.postgres.admin, livingSQL); err != nil {
		return m, err
	}
	return m, r.postgres.admin.QueryRow(ctx, eventSQL).Scan(&m.event)
}

// checkBlame looks who was blamed for a fault. Nobody is wrongly, where the machine itself stood still: then beats stop, and
// calls run into their time-outs, whatever the fault.
func (r *rig) checkBlame(ctx context.Context, f fault, before mark) ([]violation, error) {
	if r.vigil.missed(before.at) > mayMiss {
		return nil, nil
	}
	var buried, opened []string
	var err error
	if f.spares {
		buried, err = texts(ctx, r.postgres.admin, buriedSQL, before.living)
	}
	if err == nil && !f.blamed {
		opened, err = texts(ctx, r.postgres.admin, openedSQL, before.event)
	}
	return broken(violation{"who lives is not taken for dead", buried}, violation{"what is not the provider's fault opens no breaker", opened}), err
}

const backlogSQL = `select count(*) from ready`

// hold is how long a fault lasts this time.
func (r *rig) hold(f fault) time.Duration {
	if r.quick {
		return f.hold.least
	}
	return f.hold.draw(r.random)
}

// baseline waits until the fleet does what comes in and no more, and gives the jobs done a second: a backlog that goes
// would be a measure that no healthy fleet can meet.
func (r *rig) baseline(ctx context.Context) (float64, error) {
	for deadline := time.Now().Add(settleFor); ; {
		var backlog int
		if err := r.postgres.admin.QueryRow(ctx, backlogSQL).Scan(&backlog); err != nil {
			return 0, err
		}
		rate := 0.0
		if float64(backlog) < r.load.rate/2 {
			var err error
			if rate, err = r.measure(ctx); err != nil {
				return 0, err
			}
		}
		if 0 < rate && rate < maxBaseline*r.load.rate {
			return min(rate, doneShare*r.load.rate), nil
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("no rest after %v: %d jobs are ready, %.1f were done in a second", settleFor, backlog, rate)
		}
		if !sleep(ctx, lookEvery) {
			return 0, ctx.Err()
		}
	}
}

// measure gives the jobs done a second from now on; from later on, where the window was not seen whole: a machine may stand
// still for a while.
func (r *rig) measure(ctx context.Context) (float64, error) {
	for from := time.Now(); sleep(ctx, lookEvery); {
		if rate, seen := r.meter.rate(from); seen {
			return rate, nil
		}
		if time.Since(from) > 3*r.meter.window {
			from = time.Now()
		}
	}
	return 0, ctx.Err()
}

const heldSQL = `select id || '/' || lease from jobs where state = 'running'`

const stillHeldSQL = `select id || '/' || lease || ' under ' || worker from jobs where state = 'running' and id || '/' || lease = any ($1)`

// recovery waits for what must come after a heal: the leases of then end, and the work is back.
func (r *rig) recovery(ctx context.Context, o *outcome, healed time.Time) (found []violation, err error) {
	var held []string
	err = persist(ctx, func(ctx context.Context) error {
		held, err = texts(ctx, r.postgres.admin, heldSQL)
		return err
	})
	if err != nil {
		return nil, err
	}
	if o.back, err = r.awaitBack(ctx, o.baseline, healed); err != nil {
		return nil, err
	}
	if o.back < 0 {
		found = append(found, violation{"the work is back within 30 s", []string{
			fmt.Sprintf("%s: %.1f/s before, never %.0f %% of it in %v", o.fault, o.baseline, 100*backShare, time.Since(healed).Round(time.Second))}})
	}
	left, err := r.awaitLeases(ctx, held, healed)
	if len(left) > 0 {
		found = append(found, violation{"what ran at the heal has ended when death detection and 15 s have passed", left})
	}
	return found, err
}

// awaitBack gives the time from the heal to the first window that is as good as the baseline. Negative: there was none.
func (r *rig) awaitBack(ctx context.Context, baseline float64, healed time.Time) (time.Duration, error) {
	from, within := healed, healed.Add(backWithin)
	for {
		if time.Since(healed) < breakerLook {
			within = r.allow(ctx, within)
		}
		until := within.Add(r.vigil.missed(healed))
		rate, seen := r.meter.rate(from)
		switch {
		case seen && rate >= backShare*baseline:
			return from.Sub(healed), nil
		case from.After(until):
			return -1, nil
		case seen || time.Since(from) > 3*r.meter.window:
			from = from.Add(lookEvery)
		case !sleep(ctx, lookEvery):
			return 0, ctx.Err()
		}
	}
}

// allow puts off the end of the wait where a breaker is open.
func (r *rig) allow(ctx context.Context, until time.Time) time.Time {
	var ms float64
	err := r.postgres.admin.QueryRow(ctx, `select coalesce(max(extract(epoch from retry_at - clock_timestamp())), 0) * 1000
		from upstreams where state <> 'closed'`).Scan(&ms)
	if closed := time.Now().Add(time.Duration(ms)*time.Millisecond + backWithin); err == nil && ms > 0 && closed.After(until) {
		return closed
	}
	return until
}

// awaitLeases waits until none of the leases is in force, and gives those that are when the time is over.
func (r *rig) awaitLeases(ctx context.Context, held []string, healed time.Time) (left []string, err error) {
	for {
		until := healed.Add(r.fleet.deadAfter + detectionSlack + r.vigil.missed(healed))
		if left, err = texts(ctx, r.postgres.admin, stillHeldSQL, held); err != nil || len(left) == 0 || time.Now().After(until) {
			return left, err
		}
		if !sleep(ctx, lookEvery) {
			return nil, ctx.Err()
		}
	}
}

// drain stops the load, waits until every job has ended, stops the fleet and looks at everything.
func (r *rig) drain(ctx context.Context) ([]violation, error) {
	r.stopLoad()
	var open int
	for deadline := time.Now().Add(drainFor); ; sleep(ctx, lookEvery) {
		err := r.postgres.admin.QueryRow(ctx, `select count(*) from jobs where state in ('queued', 'delayed', 'running')`).Scan(&open)
		if err != nil {
			return nil, err
		}
		if open == 0 || time.Now().After(deadline) {
			break
		}
	}
	if err := r.fleet.unasked(); err != nil {
		return nil, err
	}
	for _, s := range r.fleet.all() {
		r.fleet.stop(s)
	}
	return r.check(ctx, true)
}
