package pg_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

func count(t *testing.T, db pg.DB) (n int) {
	t.Helper()
	if err := db.QueryRow(t.Context(), "select count(*) from things").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func mustExec(t *testing.T, db pg.DB, sql string) {
	t.Helper()
	if _, err := db.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func TestInTxCommitsOrRollsBack(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	mustExec(t, pool, "create table things (id int primary key)")
	insert := func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), "insert into things values (1)")
		return err
	}
	sentinel := errors.New("no")
	err := pg.InTx(t.Context(), pool, func(tx pgx.Tx) error { return errors.Join(insert(tx), sentinel) })
	if !errors.Is(err, sentinel) || count(t, pool) != 0 {
		t.Errorf("after an error: %v, %d rows", err, count(t, pool))
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = pg.InTx(t.Context(), pool, func(tx pgx.Tx) error { panic(insert(tx)) })
	}()
	if n := count(t, pool); n != 0 {
		t.Errorf("after a panic: %d rows", n)
	}
	if err := pg.InTx(t.Context(), pool, insert); err != nil || count(t, pool) != 1 {
		t.Errorf("after success: %v, %d rows", err, count(t, pool))
	}
	err = pg.InTx(t.Context(), pool, insert)
	if !pg.IsUniqueViolation(err, "things_pkey") || pg.IsUniqueViolation(err, "other") || pg.Code(err) != "23505" {
		t.Errorf("a duplicate: %v", err)
	}
}

func TestInTxInsideATransactionIsASavepoint(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	mustExec(t, pool, "create table things (id int primary key)")
	err := pg.InTx(t.Context(), pool, func(outer pgx.Tx) error {
		mustExec(t, outer, "insert into things values (1)")
		inner := pg.InTx(t.Context(), outer, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), "insert into things values (1)")
			return err
		})
		if pg.Code(inner) != "23505" {
			t.Errorf("inner: %v", inner)
		}
		return nil
	})
	if err != nil || count(t, pool) != 1 {
		t.Errorf("outer: %v, %d rows", err, count(t, pool))
	}
}

func TestInTxBoundsSilenceForThisTransactionOnly(t *testing.T) {
	t.Parallel()
	pool := onePool(t)
	show := func(db pg.DB) (value string) {
		if err := db.QueryRow(t.Context(), "show idle_in_transaction_session_timeout").Scan(&value); err != nil {
			t.Error(err)
		}
		return value
	}
	err := pg.InTx(t.Context(), pool, func(tx pgx.Tx) error {
		if got := show(tx); got != "30s" {
			t.Errorf("inside: %s", got)
		}
		return nil
	})
	if got := show(pool); err != nil || got != "0" {
		t.Errorf("afterwards, on the same session: %s, %v", got, err)
	}
}

func TestRetryAfterADeadlock(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	mustExec(t, pool, "create table things (id int primary key, n int); insert into things values (1, 0), (2, 0)")
	// Each takes its first row, waits until the other has, and reaches for the other's: a sure deadlock, once.
	var both, done sync.WaitGroup
	both.Add(2)
	attempts := [2]int{}
	for i, order := range [][2]int{{1, 2}, {2, 1}} {
		done.Go(func() {
			err := pg.Retry(t.Context(), func() error {
				attempts[i]++
				return pg.InTx(t.Context(), pool, func(tx pgx.Tx) error {
					const add = "update things set n = n + 1 where id = $1"
					if _, err := tx.Exec(t.Context(), "set local deadlock_timeout = '10ms'"); err != nil {
						return err
					}
					if _, err := tx.Exec(t.Context(), add, order[0]); err != nil {
						return err
					}
					if attempts[i] == 1 {
						both.Done()
						both.Wait()
					}
					_, err := tx.Exec(t.Context(), add, order[1])
					return err
				})
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	var sum int
	if err := pool.QueryRow(t.Context(), "select sum(n) from things").Scan(&sum); err != nil || sum != 4 {
		t.Errorf("sum = %d, %v; want 4", sum, err)
	}
	if attempts[0]+attempts[1] < 3 {
		t.Errorf("attempts %v: there was no deadlock", attempts)
	}
}

func TestRetryGivesUp(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err   error
		calls int
	}{
		{&pgconn.PgError{Code: "40001"}, 5},
		{&pgconn.PgError{Code: "40P01"}, 5},
		{&pgconn.PgError{Code: "23505"}, 1},
		{errors.New("network"), 1},
		{nil, 1},
	} {
		calls := 0
		err := pg.Retry(t.Context(), func() error { calls++; return test.err })
		if err != test.err || calls != test.calls {
			t.Errorf("%v: %d calls, %v; want %d", test.err, calls, err, test.calls)
		}
	}
}
