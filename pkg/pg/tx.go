package pg

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// begin opens a transaction in one round trip. A client that freezes inside one (stopped, or behind a dead network)
// must not keep its locks and its snapshot for ever: the server ends it after 30 s of silence. SET LOCAL, because
// behind PgBouncer the session is not ours.
const begin = `begin; set local idle_in_transaction_session_timeout = '30s'`

// InTx runs fn in a transaction and commits it, or rolls it back if fn fails or panics. It is the one way to open a
// transaction. Where db is a transaction already, fn runs in a savepoint of it.
// fn must not reach for the network: locks are held while it runs.
func InTx(ctx context.Context, db DB, fn func(tx pgx.Tx) error) error {
	if pool, ok := db.(interface {
		BeginTx(context.Context, pgx.TxOptions) (pgx.Tx, error)
	}); ok {
		return pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{BeginQuery: begin}, fn)
	}
	return pgx.BeginFunc(ctx, db, fn)
}

const (
	retryAttempts = 5
	retryPause    = 10 * time.Millisecond // doubled each time, with full jitter
)

// Retry calls attempt until it does not end in a deadlock or a serialization failure, five times at most, with
// growing random pauses. Both mean that the server undid everything, so a whole transaction may be run again;
// a part of one may not: attempt has to hold the InTx, not be in it.
func Retry(ctx context.Context, attempt func() error) error {
	for n := 0; ; n++ {
		err := attempt()
		if !undone(err) || n == retryAttempts-1 {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(rand.N(retryPause << n)):
		}
	}
}

// SQLSTATE codes that callers act upon: https://www.postgresql.org/docs/current/errcodes-appendix.html
const (
	uniqueViolation      = "23505"
	undefinedTable       = "42P01"
	readOnlyTransaction  = "25006"
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
)

// Code returns the SQLSTATE of err, or "" if the server did not raise it.
func Code(err error) string {
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pgErr.Code
	}
	return ""
}

// IsUniqueViolation reports whether err says that the named unique index or constraint refused a row.
func IsUniqueViolation(err error, constraint string) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == uniqueViolation && pgErr.ConstraintName == constraint
}

// undone reports whether the server rolled the transaction back for a reason that a second run may not meet.
func undone(err error) bool {
	code := Code(err)
	return code == serializationFailure || code == deadlockDetected
}
