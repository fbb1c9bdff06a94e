package pg_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestPoolConfigDefaults(t *testing.T) {
	t.Parallel()
	cfg, err := pg.PoolConfig("postgres://u:p@h/d", pg.Options{AppName: "sluice-api"})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.MaxConns != 10 || cfg.MaxConnLifetime != 30*time.Minute || cfg.MaxConnLifetimeJitter != 5*time.Minute ||
		cfg.PingTimeout != 5*time.Second || cfg.ConnConfig.ConnectTimeout != 10*time.Second {
		t.Errorf("got %+v", cfg)
	}
	if name := cfg.ConnConfig.RuntimeParams["application_name"]; name != "sluice-api" {
		t.Errorf("application_name = %q", name)
	}
}

func TestPoolConfigTheURLWins(t *testing.T) {
	t.Parallel()
	cfg, err := pg.PoolConfig("postgres://u:p@h/d?search_path=tenant_a&application_name=mine&connect_timeout=3"+
		"&default_query_exec_mode=exec&pool_max_conns=7&pool_max_conn_lifetime=1m&pool_max_conn_lifetime_jitter=1s"+
		"&pool_ping_timeout=2s", pg.Options{MaxConns: 50, AppName: "sluice-api"})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.MaxConns != 7 || cfg.MaxConnLifetime != time.Minute || cfg.MaxConnLifetimeJitter != time.Second ||
		cfg.PingTimeout != 2*time.Second || cfg.ConnConfig.ConnectTimeout != 3*time.Second {
		t.Errorf("got %+v", cfg)
	}
	if cfg.ConnConfig.DefaultQueryExecMode != pgx.QueryExecModeExec {
		t.Errorf("exec mode %v", cfg.ConnConfig.DefaultQueryExecMode)
	}
	for name, want := range map[string]string{"search_path": "tenant_a", "application_name": "mine"} {
		if got := cfg.ConnConfig.RuntimeParams[name]; got != want {
			t.Errorf("%s = %q; want %q", name, got, want)
		}
	}
	for name := range cfg.ConnConfig.RuntimeParams {
		if strings.HasPrefix(name, "pool_") || name == "default_query_exec_mode" {
			t.Errorf("the server would be sent %s", name)
		}
	}
}

func TestOpenNeverShowsThePassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgres://u:hunter2@127.0.0.1:1/app",            // nobody listens there
		"postgres://u:hunter2@127.0.0.1:1/app?sslmode=no", // a bad parameter
		"postgres://u:x#hunter2@127.0.0.1:1/app",          // an unescaped character, for each way of getting it wrong
		"postgres://u:x/hunter2@127.0.0.1:1/app",
		"postgres://u:hunter2/x@127.0.0.1:1/app",
		"postgres://u:hunter2%zz@127.0.0.1:1/app",
		"postgres://u:hunter2?x@127.0.0.1:1/app",
		"postgres://u:hunter2 x@127.0.0.1:1/app",
		"postgre://u:hunter2@127.0.0.1:1/app",
		"host=127.0.0.1 port=1 password = 'hunter2",
		"hunter2",
	} {
		pool, err := pg.Open(t.Context(), url, pg.Options{})
		if err == nil {
			pool.Close()
			t.Errorf("%s was opened", url)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is in: %v", err)
		}
	}
}

func TestOpenSaysWhere(t *testing.T) {
	t.Parallel()
	_, err := pg.Open(t.Context(), "postgres://u:p@127.0.0.1:1/app", pg.Options{})
	if err == nil {
		t.Fatal("opened")
	}
	for _, want := range []string{"127.0.0.1:1", "user=u", "database=app", "refused"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}

// onePool is a pool with a single connection, so that the next user gets the one that the last one left.
func onePool(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool, err := pg.Open(t.Context(), pgtest.URL(t), pg.Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func backend(t *testing.T, db pg.DB) (pid int) {
	t.Helper()
	if err := db.QueryRow(t.Context(), "select pg_backend_pid()").Scan(&pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestReadOnlyServerIsLeft(t *testing.T) {
	t.Parallel()
	pool := onePool(t)
	before := backend(t, pool)
	// What a connection meets whose server was demoted under it.
	if _, err := pool.Exec(t.Context(), "set default_transaction_read_only = on"); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), "create table x ()"); pg.Code(err) != "25006" {
		t.Fatalf("a write to a read-only server: %v", err)
	}
	if _, err := pool.Exec(t.Context(), "create table x ()"); err != nil {
		t.Errorf("the connection was kept: %v", err)
	}
	if after := backend(t, pool); after == before {
		t.Error("the connection was kept")
	}
}

func TestOrdinaryErrorKeepsTheConnection(t *testing.T) {
	t.Parallel()
	pool := onePool(t)
	before := backend(t, pool)
	if _, err := pool.Exec(t.Context(), "select 1/0"); pg.Code(err) != "22012" {
		t.Fatal(err)
	}
	if after := backend(t, pool); after != before {
		t.Error("a new connection after a division by zero")
	}
}

func TestShutDownConnectionIsLeft(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	pool, err := pg.Open(t.Context(), url, pg.Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	killed := make(chan error, 1)
	go func() { killed <- terminateSleeper(t.Context(), url) }()
	if _, err := pool.Exec(t.Context(), "select pg_sleep(3600)"); pg.Code(err) != "57P01" {
		t.Fatalf("got %v", err)
	}
	if err := <-killed; err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), "select 1"); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

// terminateSleeper ends the session in url's database that sleeps, as soon as there is one.
func terminateSleeper(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for n := 0; n == 0; {
		if err := conn.QueryRow(ctx, `select count(pg_terminate_backend(pid)) from pg_stat_activity
			where datname = current_database() and wait_event = 'PgSleep'`).Scan(&n); err != nil {
			return err
		}
	}
	return nil
}
