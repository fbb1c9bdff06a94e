package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedev/sluice/bench/rig"
)

// reading is what had been spent at a moment.
type reading struct {
	at       time.Time
	postgres time.Duration // CPU of the server and all its processes, those that have ended too
	workers  time.Duration // CPU of the workers
	wal      int64         // bytes written since the server was made
}

// meter reads without asking the database that is measured.
type meter struct {
	server  *rig.Postgres
	root    int // process of the server that starts all others
	workers []int
}

func newMeter(ctx context.Context, server *rig.Postgres, workers []int) (meter, error) {
	root, err := rootProcess(ctx, server)
	return meter{server, root, workers}, err
}

// rootProcess is the parent of a backend.
func rootProcess(ctx context.Context, server *rig.Postgres) (int, error) {
	conn, err := pgx.Connect(ctx, server.URL("postgres"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var pid int
	if err := conn.QueryRow(ctx, `select pg_backend_pid()`).Scan(&pid); err != nil {
		return 0, err
	}
	return parentOf(pid)
}

func (m meter) read(ctx context.Context) (r reading, err error) {
	r.at = time.Now()
	if r.postgres, err = cpuOfTree(m.root); err != nil {
		return r, err
	}
	for _, pid := range m.workers {
		cpu, err := cpuOf(pid)
		if err != nil {
			return r, err
		}
		r.workers += cpu
	}
	err = m.server.Admin.QueryRow(ctx, `select pg_current_wal_lsn() - '0/0'::pg_lsn`).Scan(&r.wal)
	return r, err
}

// commits are those of a database, as far as its backends have handed them in.
func commits(ctx context.Context, server *rig.Postgres, database string) (n int64, err error) {
	err = server.Admin.QueryRow(ctx, `select xact_commit from pg_stat_database where datname = $1`, database).Scan(&n)
	return n, err
}
