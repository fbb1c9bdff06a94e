package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/pkg/pg/local"
)

// maxConnections is enough for 45 workers with 11 each, or for 21 and 16 River clients with 4.
const maxConnections = 600

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

// The counts of a table's updates reach the statistics when a connection is idle or ends, so that nobody's may be left.
const othersSQL = `
select count(*) from pg_stat_activity
where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()`

// A breaker's openings, and what was charged in each from the second on which the fleet has to know of it.
const booksSQL = `
with openings as (
    select o.upstream, o.at + interval '1 second' as known,
           (select min(c.at) from breaker_events c where c.upstream = o.upstream and c.to_state = 'closed' and c.id > o.id) as closed
    from breaker_events o
    where o.from_state = 'closed' and o.to_state = 'open'
)
select coalesce(t.n_tup_upd, 0), coalesce(t.n_tup_hot_upd, 0), (select min(known) - interval '1 second' from openings),
       (select count(*) from openings o join attempts a on a.upstream = o.upstream
        where a.started_at > o.known and (o.closed is null or a.started_at < o.closed) and a.charged and a.outcome <> 'ok')
from pg_stat_user_tables t where t.relname = 'upstreams'`

// booksLimit bounds the time until the connections of workers that have ended are gone.
const booksLimit = 10 * time.Second

// books reads them from the database of a fleet that has ended.
func (p *postgres) books(ctx context.Context, database string) (b books, err error) {
	ctx, cancel := context.WithTimeout(ctx, booksLimit)
	defer cancel()
	db, err := pgx.Connect(ctx, p.URL(database))
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, db.Close(context.WithoutCancel(ctx))) }()
	for others := 1; others > 0; sleep(ctx, 20*time.Millisecond) { // between two looks: a backend's end is no event
		if err := db.QueryRow(ctx, othersSQL).Scan(&others); err != nil {
			return b, fmt.Errorf("wait for the end of all other connections: %w", err)
		}
	}
	err = db.QueryRow(ctx, booksSQL).Scan(&b.updates, &b.hot, &b.opened, &b.charged)
	return b, err
}
