package main

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedev/sluice/bench/rig"
)

// maxConnections is enough for 45 workers with 11 each, or for 21 and 16 River clients with 4.
const maxConnections = 600

// postgres is the private server, and what is asked of it about Sluice.
type postgres struct{ *rig.Postgres }

// What writes an upstream's row, its quota or its permits, by a statement or by a function that is named for it. Reads
// are not counted: they lock nothing.
const quotaStatementsSQL = `
select coalesce(sum(s.calls), 0)::bigint
from pg_stat_statements s join pg_database d on d.oid = s.dbid
where d.datname = $1
  and (s.query ~* '\m(upstream|quota|permit)\w*\s*\(' or s.query ~* '\m(insert\s+into|update|delete\s+from)\s+\w*(upstream|quota|permit)')`

// quotaStatements counts since the database was made; false without pg_stat_statements.
func (p postgres) quotaStatements(ctx context.Context, database string) (n int64, ok bool, err error) {
	if !p.Statements {
		return 0, false, nil
	}
	err = p.Admin.QueryRow(ctx, quotaStatementsSQL, database).Scan(&n)
	return n, err == nil, err
}

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

// books reads them from the database of a fleet that has ended.
func (p postgres) books(ctx context.Context, database string) (b books, err error) {
	if err := p.Quiet(ctx, database); err != nil {
		return b, err
	}
	db, err := pgx.Connect(ctx, p.URL(database))
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, db.Close(context.WithoutCancel(ctx))) }()
	err = db.QueryRow(ctx, booksSQL).Scan(&b.updates, &b.hot, &b.opened, &b.charged)
	return b, err
}
