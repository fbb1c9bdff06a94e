package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedev/sluice/bench/rig"
)

// lookEvery is the pause between two looks at whether the last job is done, once all have begun.
const lookEvery = 10 * time.Millisecond

// drained is what it took to work off jobs that were all there.
type drained struct {
	jobs    int
	took    time.Duration // from the beginning of the first job until the last was seen to be done
	spent   reading       // meanwhile, but for the time
	commits int64
}

// figures are the drain's, a job.
func (d drained) figures() figures {
	jobs := float64(d.jobs)
	return figures{
		jobRate:     jobs / d.took.Seconds(),
		postgresCPU: float64(d.spent.postgres.Microseconds()) / jobs,
		workerCPU:   float64(d.spent.workers.Microseconds()) / jobs,
		walBytes:    float64(d.spent.wal) / jobs,
		commitCount: float64(d.commits) / jobs,
	}
}

// drain is so much work for so many processes.
type drain struct {
	contender
	processes int
	load
	// beside goes on while they work, until it is stopped; nil: nothing does.
	beside func(ctx context.Context, url string) (stop func() error, err error)
}

// run hands over the jobs and has them worked off.
func (d drain) run(ctx context.Context, b *bench, at database) (figures, error) {
	if err := d.fill(ctx, at.url, d.load); err != nil {
		return nil, err
	}
	// The planner has its statistics, and nothing is left to do of what came before.
	if err := errors.Join(execute(ctx, at.url, `analyze`, `checkpoint`), b.server.Quiet(ctx, at.name)); err != nil {
		return nil, err
	}
	before, err := commits(ctx, b.server, at.name)
	if err != nil {
		return nil, err
	}
	did, looks, err := d.work(ctx, b, at)
	if err != nil {
		return nil, err
	}
	if err := b.server.Quiet(ctx, at.name); err != nil {
		return nil, err
	}
	after, err := commits(ctx, b.server, at.name)
	did.commits = after - before - int64(looks)
	return did.figures(), err
}

// work starts the processes, waits until all is done, and ends them. looks are its own questions to the database.
func (d drain) work(ctx context.Context, b *bench, at database) (did drained, looks int, err error) {
	crew, err := hire(ctx, d.processes, func() (*exec.Cmd, error) { return d.worker(at.url, d.load) })
	if err != nil {
		return did, 0, err
	}
	defer func() { err = errors.Join(err, crew.stop()) }()
	db, err := pgx.Connect(ctx, at.url)
	if err != nil {
		return did, 0, err
	}
	defer func() { err = errors.Join(err, db.Close(context.WithoutCancel(ctx))) }()
	if d.beside != nil {
		stop, err := d.beside(ctx, at.url)
		if err != nil {
			return did, 0, err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	meter, err := newMeter(ctx, b.server, crew.pids())
	if err != nil {
		return did, 0, err
	}
	before, err := meter.read(ctx)
	if err == nil {
		err = crew.begin()
	}
	if err == nil {
		err = crew.until(ctx, stallLimit, func() bool { return crew.handled() >= int64(d.jobs) })
	}
	if err != nil {
		return did, 0, fmt.Errorf("after %d of %d jobs: %w", crew.handled(), d.jobs, err)
	}
	after, looks, err := meter.untilDone(ctx, db, d.contender, d.jobs)
	return drained{jobs: d.jobs, took: after.at.Sub(crew.first()), spent: after.since(before)}, looks, err
}

// untilDone reads the meter before each look at whether jobs are left, and returns the reading of the look that found none.
func (m meter) untilDone(ctx context.Context, db *pgx.Conn, c contender, jobs int) (r reading, looks int, err error) {
	for since := time.Now(); time.Since(since) < stallLimit; rig.Pause(ctx, lookEvery) {
		if r, err = m.read(ctx); err != nil {
			return r, looks, err
		}
		var left bool
		looks++
		if err := db.QueryRow(ctx, c.leftSQL(), jobs).Scan(&left); err != nil || !left {
			return r, looks, err
		}
	}
	return r, looks, fmt.Errorf("all jobs have begun, but after %v not all are done", stallLimit)
}

// since is what was spent after an earlier reading.
func (r reading) since(before reading) reading {
	return reading{at: r.at, postgres: r.postgres - before.postgres, workers: r.workers - before.workers, wal: r.wal - before.wal}
}

// drains are those of a queue that holds nothing else.
func (b *bench) drains(ctx context.Context) error {
	for _, processes := range b.processes {
		var entries []entry
		for _, c := range b.contenders() {
			d := drain{contender: c, processes: processes, load: lean(c.portion(b.jobs))}
			entries = append(entries, b.drainOf(processesTest(processes), d))
		}
		if err := b.repeat(ctx, "drain", b.trials, entries); err != nil {
			return err
		}
	}
	var entries []entry
	for _, c := range append([]contender{sluicePlain, riverLarge}, b.peers()...) {
		entries = append(entries, b.drainOf("2 processes, large", drain{contender: c, processes: 2, load: large(b.large)}))
	}
	return b.repeat(ctx, "drain", b.trials, entries)
}

// drainOf is a drain in a database of its own.
func (b *bench) drainOf(test string, d drain) entry {
	return entry{test, d.name(), func(ctx context.Context) (figures, error) {
		return b.fresh(ctx, d, func(at database) (figures, error) { return d.run(ctx, b, at) })
	}}
}

func count(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return thousands(float64(n)) + " " + more
}
