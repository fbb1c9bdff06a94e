// Package pg is the one door to PostgreSQL: the pool, transactions, migrations and notifications.
//
// It promises:
//
//   - Every parameter of the database URL is honoured, search_path and default_query_exec_mode (for PgBouncer)
//     included, and none of ours overrides it.
//   - Nothing needs the state of a session: settings are SET LOCAL, so PgBouncer in transaction mode works. The two
//     exceptions, [Migrate] and [Listen], take a URL of their own, which has to be a direct one.
//   - A connection whose server was shut down or became read-only in a failover is never used again.
//   - No error and no log line holds a password.
//
// It never knows what a table means (the concepts own their SQL), and never migrates unless asked to.
package pg

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// DB is a pool or a transaction: what a concept needs to run its statements in either.
// Both *pgxpool.Pool and pgx.Tx are one; Begin in a transaction makes a savepoint.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults // one transaction
	Begin(ctx context.Context) (pgx.Tx, error)
}
