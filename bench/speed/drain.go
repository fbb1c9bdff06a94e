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
const lookEvery = 5 * time.Millisecond

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

// drain hands over jobs and has them worked off by so many processes.
func (b *bench) drain(ctx context.Context, c contender, at database, processes int, l load) (d drained, err error) {
	if err := c.fill(ctx, at.url, l); err != nil {
		return d, err
	}
	if err := b.settle(ctx, at); err != nil {
		return d, err
	}
	before, err := commits(ctx, b.server, at.name)
	if err != nil {
		return d, err
	}
	d, looks, err := b.work(ctx, c, at, processes, l)
	if err != nil {
		return d, err
	}
	if err := b.server.Quiet(ctx, at.name); err != nil {
		return d, err
	}
	after, err := commits(ctx, b.server, at.name)
	d.commits = after - before - int64(looks)
	return d, err
}

// settle gives the planner its statistics and makes a checkpoint, so that nothing is left to do of what came before.
func (b *bench) settle(ctx context.Context, at database) (err error) {
	db, err := pgx.Connect(ctx, at.url)
	if err != nil {
		return err
	}
	_, err = db.Exec(ctx, `analyze`)
	if err == nil {
		_, err = db.Exec(ctx, `checkpoint`)
	}
	return errors.Join(err, db.Close(ctx), b.server.Quiet(ctx, at.name))
}

// work starts the processes, waits until all is done, and ends them. looks are its own questions to the database.
func (b *bench) work(ctx context.Context, c contender, at database, processes int, l load) (d drained, looks int, err error) {
	crew, err := b.hire(ctx, c, at, processes, l)
	if err != nil {
		return d, 0, err
	}
	defer func() { err = errors.Join(err, crew.stop()) }()
	db, err := pgx.Connect(ctx, at.url)
	if err != nil {
		return d, 0, err
	}
	defer func() { err = errors.Join(err, db.Close(context.WithoutCancel(ctx))) }()
	meter, err := newMeter(ctx, b.server, crew.pids())
	if err != nil {
		return d, 0, err
	}
	before, err := meter.read(ctx)
	if err == nil {
		err = crew.begin()
	}
	if err == nil {
		err = crew.until(ctx, stallLimit, func() bool { return crew.handled() >= int64(l.jobs) })
	}
	if err != nil {
		return d, 0, fmt.Errorf("after %d of %d jobs: %w", crew.handled(), l.jobs, err)
	}
	after, looks, err := meter.untilDone(ctx, db, c, l.jobs)
	d = drained{jobs: l.jobs, took: after.at.Sub(crew.first()), spent: after.since(before)}
	return d, looks, err
}

func (b *bench) hire(ctx context.Context, c contender, at database, processes int, l load) (*crew, error) {
	return hire(ctx, processes, func() (*exec.Cmd, error) { return c.worker(at.url, l) })
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
	for _, processes := range []int{1, 2, 4} {
		var entries []entry
		for _, c := range b.contenders() {
			entries = append(entries, b.freshDrain(count(processes, "process", "processes"), c, processes, lean(c.portion(b.jobs))))
		}
		if err := b.repeat(ctx, "drain", entries); err != nil {
			return err
		}
	}
	var entries []entry
	for _, c := range b.contenders() {
		entries = append(entries, b.freshDrain("2 processes, large", c, 2, large(c.portion(b.large))))
	}
	return b.repeat(ctx, "drain", entries)
}

// freshDrain is a drain in a database of its own.
func (b *bench) freshDrain(test string, c contender, processes int, l load) entry {
	return entry{test, c.name(), func(ctx context.Context) (figures, error) {
		return b.fresh(ctx, c, func(at database) (figures, error) {
			d, err := b.drain(ctx, c, at, processes, l)
			return d.figures(), err
		})
	}}
}

func count(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}
