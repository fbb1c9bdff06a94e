package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/upstream"
)

// flatProcesses drain beside what else a queue may hold.
const flatProcesses = 2

// flats are drains of a queue that is empty but for its jobs, and of queues with other things in them, in turns.
func (b *bench) flats(ctx context.Context) error {
	of := func(c contender) drain { return drain{contender: c, processes: flatProcesses, load: lean(b.jobs)} }
	held := func(c contender) drain {
		d := of(c)
		d.beside = holdSnapshot
		return d
	}
	finished := b.finishedTest()
	return b.repeat(ctx, "flatness", b.trials, []entry{
		b.drainOf(asItIs, of(sluicePlain)),
		b.laden(finished, of(sluicePlain), func(ctx context.Context, url string) error { return sluiceKeep(ctx, url, b.kept) }),
		b.laden(b.delayedTest(), of(sluicePlain), func(ctx context.Context, url string) error { return sluiceDelay(ctx, url, b.delayed) }),
		b.laden(b.parkedTest(), of(sluiceBoth), func(ctx context.Context, url string) error {
			return sluicePark(ctx, url, b.parked)
		}),
		b.drainOf(heldTest, held(sluicePlain)),
		b.drainOf(asItIs, of(riverFastest)),
		b.laden(finished, of(riverFastest), func(ctx context.Context, url string) error { return riverKeep(ctx, url, b.kept) }),
		b.drainOf(heldTest, held(riverFastest)),
	})
}

// The drain that the others are compared with, and the one while a session holds an old snapshot.
const (
	asItIs   = "nothing else"
	heldTest = "a session holds a snapshot"
)

func (s scale) finishedTest() string { return thousands(float64(s.kept)) + " finished jobs" }
func (s scale) delayedTest() string  { return thousands(float64(s.delayed)) + " delayed jobs" }
func (s scale) parkedTest() string {
	return thousands(float64(s.parked)) + " jobs of a paused upstream"
}

// laden is a drain in a database that is filled before the first trial and kept for the others.
func (b *bench) laden(test string, d drain, fill func(ctx context.Context, url string) error) entry {
	var at database
	return entry{test, d.name(), func(ctx context.Context) (_ figures, err error) {
		if at.url == "" {
			fmt.Fprintf(b.progress, "flatness, %s, %s: filling the queue\n", test, d.name())
			if at, err = b.create(ctx, d); err != nil {
				return nil, err
			}
			if err := errors.Join(fill(ctx, at.url), execute(ctx, at.url, `vacuum analyze`)); err != nil {
				return nil, err
			}
		}
		return d.run(ctx, b, at)
	}}
}

// holdSnapshot keeps all dead rows from going while a session sees them.
func holdSnapshot(ctx context.Context, url string) (release func() error, err error) {
	session, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, err
	}
	release = func() error { return session.Close(context.WithoutCancel(ctx)) }
	if _, err := session.Exec(ctx, `begin isolation level repeatable read; select count(*) from pg_class`); err != nil {
		return nil, errors.Join(err, release())
	}
	return release, nil
}

// execute runs statements on a connection of their own.
func execute(ctx context.Context, url string, statements ...string) (err error) {
	db, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close(context.WithoutCancel(ctx))) }()
	for _, sql := range statements {
		if _, err := db.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// Finished jobs as they are left behind: each with its payload and its result, and Sluice's with its attempt.
const (
	sluiceKeepSQL = `
with job as (
    insert into jobs (type, state, priority, payload, attempts, max_attempts, lease, started_at, finished_at, result)
    select 'plain', 'done', 5, json_build_object('n', n, 'input', repeat(md5(n::text), 8)), 1, 5, 1, now(), now(),
        json_build_object('output_text', repeat(md5(n::text), 3), 'usage', null, 'response', null)
    from generate_series(1, $1) n
    returning id
)
insert into attempts (job_id, number, worker, outcome, charged, started_at, finished_at)
select id, 1, 'before', 'ok', true, now(), now() from job`

	riverKeepSQL = `
insert into river_job (state, kind, args, attempt, attempted_by, max_attempts, attempted_at, finalized_at, metadata)
select 'completed', 'work', jsonb_build_object('n', n, 'input', repeat(md5(n::text), 8)), 1, '{before}', 25, now(), now(),
    jsonb_build_object('output', json_build_object('output_text', repeat(md5(n::text), 3)))
from generate_series(1, $1) n`
)

// portionSize is how many finished jobs are made at once.
const portionSize = 100_000

func sluiceKeep(ctx context.Context, url string, jobs int) error {
	return keep(ctx, url, sluiceKeepSQL, jobs)
}
func riverKeep(ctx context.Context, url string, jobs int) error {
	return keep(ctx, url, riverKeepSQL, jobs)
}

func keep(ctx context.Context, url, sql string, jobs int) (err error) {
	db, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close(context.WithoutCancel(ctx))) }()
	for ; jobs > 0; jobs -= portionSize {
		if _, err := db.Exec(ctx, sql, min(jobs, portionSize)); err != nil {
			return err
		}
	}
	return nil
}

// sluiceDelay enqueues jobs that are due in a day.
func sluiceDelay(ctx context.Context, url string, jobs int) error {
	return sluiceEnqueue(ctx, url, lean(jobs), queue.NewJob{Type: plainType.Name, Delay: new(24 * time.Hour)})
}

// sluicePark enqueues jobs of an upstream that is paused by hand, ahead of all others.
func sluicePark(ctx context.Context, url string, jobs int) error {
	if err := sluiceEnqueue(ctx, url, lean(jobs), queue.NewJob{Type: pacedType.Name, Priority: new(jobtype.MinPriority)}); err != nil {
		return err
	}
	db, err := pg.Open(ctx, url, pg.Options{})
	if err != nil {
		return err
	}
	defer db.Close()
	line := pacedType.UpstreamName(pacedType.Model)
	upstreams := upstream.New(db)
	if err := upstreams.Ensure(ctx, line); err != nil {
		return err
	}
	_, err = upstreams.Pause(ctx, line, "bench")
	return err
}
