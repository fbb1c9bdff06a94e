package pg_test

import (
	"context"
	"io/fs"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/db/migrations"
	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

var quiet = slog.New(slog.DiscardHandler)

// countHandler counts log records with a message.
type countHandler struct {
	slog.Handler
	message string
	n       *atomic.Int64
}

func (h countHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h countHandler) Handle(_ context.Context, r slog.Record) error {
	if r.Message == h.message {
		h.n.Add(1)
	}
	return nil
}

func open(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pg.Open(t.Context(), url, pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func withParameter(t *testing.T, raw, name, value string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

func TestTenMigrateAtOnce(t *testing.T) {
	t.Parallel()
	url := pgtest.EmptyURL(t)
	var applied atomic.Int64
	log := slog.New(countHandler{slog.DiscardHandler, "migration applied", &applied})
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if err := pg.Migrate(t.Context(), url, log); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	current, wanted, err := pg.Version(t.Context(), open(t, url))
	if err != nil || current != wanted || wanted == 0 {
		t.Errorf("version %d of %d, %v", current, wanted, err)
	}
	files, _ := fs.Glob(migrations.FS, "*.sql")
	if applied.Load() != int64(len(files)) {
		t.Errorf("%d migrations applied; want each of the %d once", applied.Load(), len(files))
	}
}

// TestMigrationKilledHalfWay holds a migration in its middle by a lock, kills its session, and runs it again.
func TestMigrationKilledHalfWay(t *testing.T) {
	t.Parallel()
	url := pgtest.EmptyURL(t)
	pool := open(t, url)
	files := fstest.MapFS{
		"00001_a.sql": {Data: []byte("-- +goose Up\ncreate table a ();\n")},
		"00002_b.sql": {Data: []byte("-- +goose Up\ncreate table b ();\nselect pg_advisory_xact_lock(7);\ncreate table c ();\n")},
	}
	holder, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Release()
	if _, err := holder.Exec(t.Context(), "select pg_advisory_lock(7)"); err != nil {
		t.Fatal(err)
	}
	killed := make(chan error, 1)
	go func() { killed <- pg.MigrateFiles(t.Context(), url, files, quiet) }()
	for n := 0; n == 0; {
		if err := pool.QueryRow(t.Context(), `select count(pg_terminate_backend(pid)) from pg_stat_activity
			where datname = current_database() and application_name = 'sluice-migrate' and wait_event = 'advisory'`,
		).Scan(&n); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-killed; err == nil || !strings.Contains(err.Error(), "00002_b.sql") {
		t.Errorf("the killed one: %v", err)
	}
	tables := func() (names string) {
		err := pool.QueryRow(t.Context(), `select coalesce(string_agg(relname, ' ' order by relname), '')
			from pg_class where relname in ('a', 'b', 'c')`).Scan(&names)
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	if got := tables(); got != "a" {
		t.Errorf("it left the tables %q; want a, and of the second migration nothing", got)
	}
	if _, err := holder.Exec(t.Context(), "select pg_advisory_unlock(7)"); err != nil {
		t.Fatal(err)
	}

	if err := pg.MigrateFiles(t.Context(), url, files, quiet); err != nil {
		t.Errorf("the second run: %v", err)
	}
	if got := tables(); got != "a b c" {
		t.Errorf("the second run left the tables %q", got)
	}
}

func TestMigrateHonoursSearchPath(t *testing.T) {
	t.Parallel()
	url := pgtest.EmptyURL(t)
	pool := open(t, url)
	mustExec(t, pool, "create schema one; create schema two")
	// An application's own goose history must not be taken for ours.
	mustExec(t, pool, "create table one.goose_db_version (version_id bigint, is_applied bool)")
	mustExec(t, pool, "insert into one.goose_db_version values (999999, true)")
	for _, schema := range []string{"one", "two"} {
		url := withParameter(t, url, "search_path", schema)
		if err := pg.Migrate(t.Context(), url, quiet); err != nil {
			t.Fatalf("%s: %v", schema, err)
		}
		if current, wanted, err := pg.Version(t.Context(), open(t, url)); err != nil || current != wanted {
			t.Errorf("%s: version %d of %d, %v", schema, current, wanted, err)
		}
	}
	var stray int
	if err := pool.QueryRow(t.Context(), `select count(*) from pg_class where relnamespace = 'public'::regnamespace`).Scan(&stray); err != nil || stray != 0 {
		t.Errorf("%d relations in schema public, %v", stray, err)
	}
	if current, _, err := pg.Version(t.Context(), pool); err != nil || current != 0 {
		t.Errorf("public: version %d, %v; want 0", current, err)
	}
}

func TestMigrateRefusesWhatItCannotMigrate(t *testing.T) {
	t.Parallel()
	err := pg.Migrate(t.Context(), withParameter(t, pgtest.EmptyURL(t), "search_path", "nowhere"), quiet)
	if err == nil || !strings.Contains(err.Error(), "CREATE SCHEMA") || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a missing schema: %v", err)
	}
	if err := pg.Unfit("public", 140009); err == nil || !strings.Contains(err.Error(), "PostgreSQL 14.9, and Sluice needs 15") {
		t.Errorf("an old server: %v", err)
	}
	if err := pg.Unfit("public", pg.MinServerVersion); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

func TestMigrateIgnoresPoolParameters(t *testing.T) {
	t.Parallel()
	url := withParameter(t, pgtest.EmptyURL(t), "pool_max_conns", "3")
	if err := pg.Migrate(t.Context(), url, quiet); err != nil {
		t.Error(err)
	}
}

// PgBouncer before 1.21 knows no named statements, so its users choose another of pgx's modes in the URL.
func TestExecModesOfPgBouncer(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"exec", "simple_protocol", "cache_describe"} {
		pool := open(t, withParameter(t, pgtest.URL(t), "default_query_exec_mode", mode))
		err := pg.InTx(t.Context(), pool, func(tx pgx.Tx) error {
			var n, statements int
			err := tx.QueryRow(t.Context(), "select $1::int, (select count(*) from pg_prepared_statements where name <> '')", 41).
				Scan(&n, &statements)
			if n != 41 || statements != 0 {
				t.Errorf("%s: got %d back, with %d named statements", mode, n, statements)
			}
			return err
		})
		if err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
}
