package rig

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/pkg/pg/local"
)

// Postgres is a private server with fsync and synchronous_commit on: commits cost what they cost.
type Postgres struct {
	*local.Server
	Admin      *pgxpool.Pool // on the database postgres
	Statements bool          // pg_stat_statements is there
}

// StartPostgres starts a server with these connections at most, and further lines of postgresql.conf.
func StartPostgres(ctx context.Context, maxConnections int, settings map[string]string) (*Postgres, error) {
	options := local.Options{Fsync: true, MaxConnections: maxConnections, Settings: settings}
	with := options
	with.Settings = map[string]string{"shared_preload_libraries": "pg_stat_statements"}
	maps.Copy(with.Settings, settings)
	p := &Postgres{Statements: true}
	var err error
	if p.Server, err = local.Start(ctx, with); err != nil {
		p.Statements = false // it is in a package of its own on some systems
		if p.Server, err = local.Start(ctx, options); err != nil {
			return nil, err
		}
	}
	if p.Admin, err = pgxpool.New(ctx, p.URL("postgres")); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	if p.Statements {
		if _, err := p.Admin.Exec(ctx, `create extension pg_stat_statements`); err != nil {
			p.Statements = false
		}
	}
	return p, nil
}

// Close ends the server and removes its data.
func (p *Postgres) Close() error {
	p.Admin.Close()
	return p.Stop()
}

// Create makes an empty database, gives it a schema, and returns its URL.
func (p *Postgres) Create(ctx context.Context, name string, schema func(ctx context.Context, url string) error) (string, error) {
	if _, err := p.Admin.Exec(ctx, `create database `+pgx.Identifier{name}.Sanitize()); err != nil {
		return "", fmt.Errorf("create database %s: %w", name, err)
	}
	if err := schema(ctx, p.URL(name)); err != nil {
		return "", fmt.Errorf("database %s: %w", name, err)
	}
	return p.URL(name), nil
}

// A backend hands in its counts when it is idle for a while, or ends: before it leaves this list.
const clientsSQL = `select count(*) from pg_stat_activity where datname = $1 and backend_type = 'client backend'`

// quietLimit bounds the time until the connections of processes that have ended are gone.
const quietLimit = time.Minute

// Quiet waits until nobody is connected to a database: from then on its statistics tell all that was done.
func (p *Postgres) Quiet(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, quietLimit)
	defer cancel()
	for clients := 1; clients > 0; Pause(ctx, 20*time.Millisecond) { // between two looks: a backend's end is no event
		if err := p.Admin.QueryRow(ctx, clientsSQL, name).Scan(&clients); err != nil {
			return fmt.Errorf("wait for the end of all connections to %s: %w", name, err)
		}
	}
	return nil
}

// Pause waits; false: ctx ended first.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
