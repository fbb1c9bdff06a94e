package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/pkg/pg/local"
)

// maxConnections is enough for 21 workers with 11 each and 16 River clients with 4.
const maxConnections = 400

// postgres is a private server that survives crashes, as one in production does: commits cost what they cost.
type postgres struct {
	*local.Server
	admin      *pgxpool.Pool
	statements bool // pg_stat_statements is there
}

func startPostgres(ctx context.Context) (*postgres, error) {
	options := local.Options{Fsync: true, MaxConnections: maxConnections}
	with := options
	with.Settings = map[string]string{"shared_preload_libraries": "pg_stat_statements"}
	p := &postgres{statements: true}
	var err error
	if p.Server, err = local.Start(ctx, with); err != nil {
		p.statements = false // it is in a package of its own on some systems
		if p.Server, err = local.Start(ctx, options); err != nil {
			return nil, err
		}
	}
	if p.admin, err = pgxpool.New(ctx, p.URL("postgres")); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	if p.statements {
		if _, err := p.admin.Exec(ctx, `create extension pg_stat_statements`); err != nil {
			p.statements = false
		}
	}
	return p, nil
}

func (p *postgres) close() error {
	p.admin.Close()
	return p.Stop()
}

// create makes an empty database, gives it a schema, and returns its URL.
func (p *postgres) create(ctx context.Context, name string, schema func(context.Context, string) error) (string, error) {
	if _, err := p.admin.Exec(ctx, `create database `+pgx.Identifier{name}.Sanitize()); err != nil {
		return "", fmt.Errorf("create database %s: %w", name, err)
	}
	if err := schema(ctx, p.URL(name)); err != nil {
		return "", fmt.Errorf("database %s: %w", name, err)
	}
	return p.URL(name), nil
}

// What writes an upstream's row, its quota or its permits, by a statement or by a function that is named for it. Reads
// are not counted: they lock nothing.
const quotaStatementsSQL = `
select coalesce(sum(s.calls), 0)::bigint
from pg_stat_statements s join pg_database d on d.oid = s.dbid
where d.datname = $1
  and (s.query ~* '\m(upstream|quota|permit)\w*\s*\(' or s.query ~* '\m(insert\s+into|update|delete\s+from)\s+\w*(upstream|quota|permit)')`

// quotaStatements counts since the database was made; false without pg_stat_statements.
func (p *postgres) quotaStatements(ctx context.Context, database string) (n int64, ok bool, err error) {
	if !p.statements {
		return 0, false, nil
	}
	err = p.admin.QueryRow(ctx, quotaStatementsSQL, database).Scan(&n)
	return n, err == nil, err
}
