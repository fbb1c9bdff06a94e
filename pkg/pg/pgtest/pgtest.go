// Package pgtest gives each test a migrated database of its own, on a real PostgreSQL, so that tests run in parallel
// and none sees another's rows, locks or notifications (advisory locks are per database, so schemas would not do).
//
// It promises that a database is empty but migrated when the test gets it, and gone when the test has ended. The server
// is the one of SLUICE_TEST_DATABASE_URL (its user must be allowed to create databases), or else a private one, started
// for the first test that asks and stopped by [Main]. SLUICE_TEST_POSTGRES=npm takes npm's PostgreSQL for the private
// one, whatever this machine has. It never uses DATABASE_URL, which may name a database that somebody needs.
//
// A machine without PostgreSQL skips these tests with the reason, and fails them if CI=true.
package pgtest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/db/migrations"
	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/pg/local"
)

const (
	maxConns       = 10              // of a test's pool
	maxServerConns = 500             // of a private server: many tests run at once
	timeout        = 2 * time.Minute // for a clone: generous, and no test hangs
	startTimeout   = 8 * time.Minute // for the server and the template: npm's server may have to be fetched first
	envURL         = "SLUICE_TEST_DATABASE_URL"
	envSource      = "SLUICE_TEST_POSTGRES"
)

// New returns a pool on a database of the test's own.
func New(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool, err := pg.Open(t.Context(), URL(t), pg.Options{MaxConns: maxConns, AppName: "pgtest"})
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// URL returns the address of a database of the test's own, for tests that open their own connections.
func URL(t testing.TB) string {
	t.Helper()
	return clone(t, func(s *server) string { return s.template })
}

// EmptyURL is URL for a database without any migration.
func EmptyURL(t testing.TB) string {
	t.Helper()
	return clone(t, func(*server) string { return "template0" })
}

// clone makes a copy of a template and has it dropped when the test ends, whoever is still connected.
func clone(t testing.TB, template func(*server) string) string {
	t.Helper()
	s, err := theServer()
	if err != nil {
		unavailable(t, err)
	}
	name := "sluice_test_" + strings.ToLower(rand.Text())
	// file_copy: measured at two thirds of the default, wal_log, for a database as small as ours (see BenchmarkClone).
	if err := s.exec("create database " + name + " template " + template(s) + " strategy file_copy"); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if err := s.exec("drop database if exists " + name + " with (force)"); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return s.url(name)
}

// unavailable ends a test that cannot have a database.
func unavailable(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("pgtest: this test needs PostgreSQL: %v", err)
	}
	t.Skipf("pgtest: this test needs PostgreSQL: %v", err)
}

// KeepCommits keeps in the table kept, for each row of a table that is written, its state, and as how synchronous its transaction was
// committed. The server of the tests waits for no disk; what each transaction asks for is told all the same.
func KeepCommits(t testing.TB, db *pgxpool.Pool, table string) {
	t.Helper()
	const sql = `
		do $$ begin execute format('alter database %I set synchronous_commit = on', current_database()); end $$;
		create table kept (state text, how text);
		create function keep() returns trigger language plpgsql as $$ begin
			insert into kept values (new.state, current_setting('synchronous_commit'));
			return null;
		end $$;
		create constraint trigger keep after insert or update on `
	if _, err := db.Exec(t.Context(), sql+table+` deferrable initially deferred for each row execute function keep()`); err != nil {
		t.Fatal(err)
	}
	db.Reset() // connections that know of the setting
}

// Main runs a package's tests and stops the private server, if one was started:
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
// Without it the server dies with the process all the same on Linux, but leaves its folder for the next run to sweep.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is Main for a TestMain that has to clear up something of its own: it returns the code to exit with.
func Run(m *testing.M) (code int) {
	code = m.Run()
	if err := shutdown(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = max(code, 1)
	}
	return code
}

// server is where this process's databases are made.
type server struct {
	private  *local.Server // nil if somebody else's
	url      func(database string) string
	template string // the migrated database that clones are copied from

	mu    sync.Mutex // one statement at a time, and statements about databases wait for each other anyway
	admin *pgx.Conn
}

var (
	startOnce sync.Once
	started   *server
	startErr  error
)

// theServer connects to this process's server; the first call starts it and makes the template.
func theServer() (*server, error) {
	startOnce.Do(func() { started, startErr = start() })
	return started, startErr
}

func start() (*server, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	s := &server{}
	adminURL := os.Getenv(envURL)
	if adminURL != "" {
		s.url = func(database string) string { return withDatabase(adminURL, database) }
	} else {
		private, err := local.Start(ctx, local.Options{MaxConnections: maxServerConns, Source: os.Getenv(envSource)})
		if err != nil {
			return nil, err
		}
		s.private, s.url, adminURL = private, private.URL, private.URL("postgres")
	}
	if err := s.prepare(ctx, adminURL); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// withDatabase is the URL raw for another database of the same server.
func withDatabase(raw, database string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" && u.RawQuery == "" {
		return raw // connecting says what is wrong with it
	}
	u.Path = "/" + database
	return u.String()
}

// prepare connects and makes sure that the template is there. Its name tells which migrations it holds, so processes
// that share a server share it, whatever their branch. It gets that name only when it is complete.
func (s *server) prepare(ctx context.Context, adminURL string) (err error) {
	if s.admin, err = pgx.Connect(ctx, adminURL); err != nil {
		return err
	}
	hash, err := migrationsHash()
	if err != nil {
		return err
	}
	s.template = "sluice_template_" + hash
	// Another process of the same `go test ./...` may be about to make it on a shared server. Locks are per database.
	if _, err := s.admin.Exec(ctx, "select pg_advisory_lock(hashtext('sluice pgtest'))"); err != nil {
		return err
	}
	defer func() {
		_, unlockErr := s.admin.Exec(ctx, "select pg_advisory_unlock_all()")
		err = errors.Join(err, unlockErr)
	}()
	var exists bool
	err = s.admin.QueryRow(ctx, "select exists (select from pg_database where datname = $1)", s.template).Scan(&exists)
	if err != nil || exists {
		return err
	}
	return s.makeTemplate(ctx)
}

func (s *server) makeTemplate(ctx context.Context) error {
	draft := s.template + "_draft"
	for _, statement := range []string{
		"drop database if exists " + draft + " with (force)", // of a run that was killed
		"create database " + draft + " template template0",
	} {
		if _, err := s.admin.Exec(ctx, statement); err != nil {
			return err
		}
	}
	if err := pg.Migrate(ctx, s.url(draft), slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	// A database that somebody is connected to can be neither renamed nor copied. Migrate has closed its connection,
	// but the server may still be about to notice; `force` has no counterpart here, so nobody may come in from now on
	// and whoever lingers is thrown out.
	for _, statement := range []string{
		"alter database " + draft + " allow_connections false",
		"select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '" + draft + "'",
		"alter database " + draft + " rename to " + s.template,
	} {
		if _, err := s.admin.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// migrationsHash changes with any migration.
func migrationsHash() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(migrations.FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(migrations.FS, path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(content), content)
		return err
	})
	return fmt.Sprintf("%x", h.Sum(nil)[:8]), err
}

// inUse says that somebody is connected to a database. The server waits five seconds for those that it sends away.
const inUse = "55006"

// exec runs a statement about databases. On a busy machine a session may need longer to end than the server waits for it.
func (s *server) exec(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.admin.Exec(ctx, statement)
	for pg.Code(err) == inUse && ctx.Err() == nil {
		_, err = s.admin.Exec(ctx, statement)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// stop closes the connection and ends a private server.
func (s *server) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var err error
	if s.admin != nil {
		err = s.admin.Close(ctx)
	}
	if s.private != nil {
		err = errors.Join(err, s.private.Stop())
	}
	return err
}

// shutdown stops the server, if there is one.
func shutdown() error {
	startOnce.Do(func() { startErr = errors.New("pgtest: the tests have ended") })
	if started == nil {
		return nil
	}
	return started.stop()
}
