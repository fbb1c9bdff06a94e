package main

import (
	"context"
	"errors"
	"os/exec"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedev/sluice/bench/rig"
)

var (
	queryRate  = figure{"queries/s a worker", 2}
	commitRate = figure{"commits/s a worker", 2}
	idleCPU    = figure{"Postgres CPU %", 2}
)

// idles are fleets that have nothing to do.
func (b *bench) idles(ctx context.Context) error {
	var entries []entry
	for _, c := range append([]contender{sluiceBoth, riverDefaults}, b.peers()...) {
		entries = append(entries, entry{count(b.fleet, "worker", "workers"), c.name(), func(ctx context.Context) (figures, error) {
			return b.fresh(ctx, c, func(at database) (figures, error) { return b.idle(ctx, c, at) })
		}})
	}
	return b.repeat(ctx, "idle", 1, entries)
}

// idle counts what a fleet asks of the server for a while, from when it has settled on.
func (b *bench) idle(ctx context.Context, c contender, at database) (got figures, err error) {
	name := pgx.Identifier{at.name}.Sanitize()
	if _, err := b.server.Admin.Exec(ctx, `alter database `+name+` set pg_stat_statements.track = 'top'`); err != nil {
		return nil, err
	}
	crew, err := hire(ctx, b.fleet, func() (*exec.Cmd, error) { return c.worker(at.url, lean(0)) })
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, crew.stop()) }()
	if err := crew.begin(); err != nil {
		return nil, err
	}
	rig.Pause(ctx, b.idleWarm)
	before, err := b.asked(ctx, at)
	if err != nil {
		return nil, err
	}
	rig.Pause(ctx, b.idleSpan)
	after, err := b.asked(ctx, at)
	if err != nil {
		return nil, err
	}
	if err := crew.alive(); err != nil {
		return nil, err
	}
	seconds := after.at.Sub(before.at).Seconds()
	got = figures{
		commitRate: float64(after.commits-before.commits) / seconds / float64(b.fleet),
		idleCPU:    100 * (after.postgres - before.postgres).Seconds() / seconds,
	}
	if b.server.Statements {
		got[queryRate] = float64(after.queries-before.queries) / seconds / float64(b.fleet)
	}
	return got, nil
}

// asked is what a database was asked so far.
type asked struct {
	reading
	queries, commits int64
}

const queriesSQL = `
select coalesce(sum(s.calls), 0)::bigint from pg_stat_statements s join pg_database d on d.oid = s.dbid where d.datname = $1`

func (b *bench) asked(ctx context.Context, at database) (a asked, err error) {
	meter, err := newMeter(ctx, b.server, nil)
	if err != nil {
		return a, err
	}
	if a.reading, err = meter.read(ctx); err != nil {
		return a, err
	}
	if a.commits, err = commits(ctx, b.server, at.name); err != nil || !b.server.Statements {
		return a, err
	}
	err = b.server.Admin.QueryRow(ctx, queriesSQL, at.name).Scan(&a.queries)
	return a, err
}
