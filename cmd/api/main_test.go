package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// started runs the whole program on a free port and gives its addresses and the way to stop it.
func started(t *testing.T, environ ...string) (public, admin string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	logs, stderr := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, nil, append(environ, "PORT=0", "SLUICE_ADMIN_ADDR=127.0.0.1:0"), io.Discard, stderr)
		stderr.CloseWithError(io.EOF)
		done <- err
	}()
	lines := bufio.NewScanner(logs)
	for public == "" && lines.Scan() {
		var line struct{ Msg, Address string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("the log is no JSON: %s", lines.Text())
		}
		switch line.Msg {
		case "listening":
			public = line.Address
		case "admin endpoints":
			admin = line.Address
		}
	}
	if public == "" {
		t.Fatalf("not started: %v", <-done)
	}
	go io.Copy(io.Discard, logs)
	return public, admin, func() error { cancel(); return <-done }
}

func TestMigrateThenServe(t *testing.T) {
	t.Parallel()
	database := "DATABASE_URL=" + pgtest.EmptyURL(t)
	if err := run(t.Context(), nil, []string{database, "PORT=0"}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "api migrate") {
		t.Fatalf("serving an empty database: %v", err)
	}
	for range 2 { // a second run finds nothing to do
		if err := run(t.Context(), []string{"migrate"}, []string{database}, io.Discard, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	enqueueFromSQL(t, strings.TrimPrefix(database, "DATABASE_URL="))

	public, admin, stop := started(t, database)
	for address, want := range map[string]int{public + "/readyz": 200, public + "/api/ai/status": 200, admin + "/metrics": 200, admin + "/debug/pprof/": 200} {
		resp, err := http.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: status %d", address, resp.StatusCode)
		}
		if strings.HasSuffix(address, "/status") && (!strings.Contains(string(body), `"name":"openai:gpt-5"`) || !strings.Contains(string(body), `"queued":1`)) {
			t.Errorf("status: %s", body)
		}
	}
	u, err := url.Parse(public)
	if err != nil {
		t.Fatal(err)
	}
	check := func() error {
		return run(t.Context(), []string{"healthcheck"}, []string{database, "SLUICE_AUTH=off", "SLUICE_HOST=0.0.0.0", "PORT=" + u.Port()}, io.Discard, io.Discard)
	}
	if err := check(); err != nil {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	if err := check(); err == nil {
		t.Error("the healthcheck finds a server that has stopped")
	}
}

// After `api migrate` alone, an application can enqueue in a transaction of its own.
func enqueueFromSQL(t *testing.T, url string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), `select enqueue_job('diary.entry', '{"input":"x"}')`); err != nil {
		t.Fatal(err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args, environ []string
		want          []string
	}{
		"unknown verb":          {[]string{"dance"}, nil, []string{`"dance"`, "migrate"}},
		"two verbs":             {[]string{"migrate", "now"}, nil, []string{`"migrate now"`}},
		"nothing configured":    {nil, nil, []string{"DATABASE_URL"}},
		"migrate, all mistakes": {[]string{"migrate"}, []string{"PORT=x", "SLUICE_NOPE=1"}, []string{"DATABASE_URL", "PORT", "SLUICE_NOPE"}},
		"keys, no database":     {[]string{"key", "list"}, []string{"DATABASE_URL=postgres://u:secret@127.0.0.1:1/x"}, []string{"127.0.0.1"}},
		"no database":           {nil, []string{"DATABASE_URL=postgres://u:secret@127.0.0.1:1/x"}, []string{"127.0.0.1"}},
	} {
		err := run(t.Context(), c.args, c.environ, io.Discard, io.Discard)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		for _, word := range c.want {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %q does not say %q", name, err, word)
			}
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: tells a secret: %v", name, err)
		}
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"help", "-h", "--help"} {
		var out strings.Builder
		if err := run(t.Context(), []string{verb}, nil, &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"migrate", "DATABASE_URL", "SLUICE_CORS_ORIGINS"} {
			if !strings.Contains(out.String(), word) {
				t.Errorf("%s does not tell about %s", verb, word)
			}
		}
	}
}

func TestReachable(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{"127.0.0.1": "127.0.0.1:3000", "0.0.0.0": "127.0.0.1:3000", "::": "[::1]:3000", "::1": "[::1]:3000", "": "127.0.0.1:3000", "api.internal": "api.internal:3000"} {
		if got := reachable(host, 3000); got != want {
			t.Errorf("%q: %s, want %s", host, got, want)
		}
	}
}

// However many requests come, they share so many connections to Postgres: those that get none wait for one.
func TestRequestsShareConnectionsToPostgres(t *testing.T) {
	t.Parallel()
	database := pgtest.URL(t)
	public, _, stop := started(t, "DATABASE_URL="+database)
	db, err := pgxpool.New(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	lock, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec(t.Context(), `lock table jobs`); err != nil {
		t.Fatal(err)
	}
	sessions := func(waitingFor string) (n int) {
		t.Helper()
		err := db.QueryRow(t.Context(), `select count(*) from pg_stat_activity
			where datname = current_database() and application_name = 'sluice-api' and coalesce(wait_event_type, '') ~ $1`, waitingFor).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	var requests sync.WaitGroup
	for range 3 * maxConns {
		requests.Go(func() {
			resp, err := http.Get(public + "/api/ai/jobs")
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("status %d", resp.StatusCode)
			}
		})
	}
	for deadline := time.Now().Add(2 * time.Minute); sessions("Lock") < maxConns; { // they wait for the table
		if time.Now().After(deadline) {
			t.Fatalf("%d sessions wait, want %d", sessions("Lock"), maxConns)
		}
	}
	if err := lock.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	requests.Wait()
	if n := sessions(""); n != maxConns {
		t.Errorf("%d sessions for %d requests at once, want %d", n, 3*maxConns, maxConns)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// The program's own limits shut out whoever sends its headers a byte at a time.
func TestSlowHeadersAreShutOut(t *testing.T) {
	t.Parallel()
	public, _, stop := started(t, "DATABASE_URL="+pgtest.URL(t))
	conn, err := net.Dial("tcp", strings.TrimPrefix(public, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	gone := make(chan error, 1)
	go func() { _, err := io.Copy(io.Discard, conn); gone <- err }()
	for open := true; open; {
		select {
		case err := <-gone:
			if open = false; errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection is still open")
			}
		case <-time.After(time.Second): // that slow is the client
			_, _ = io.WriteString(conn, "x")
		}
	}
	if took := time.Since(begun); took < 4*time.Second || took > 30*time.Second {
		t.Errorf("shut out after %s, want 5 s: half a minute is another limit's", took)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// A pod that starts before the release's migration waits for it.
func TestWaitForTheMigration(t *testing.T) {
	t.Parallel()
	database := "DATABASE_URL=" + pgtest.EmptyURL(t)
	logs, stderr := io.Pipe()
	waited := make(chan error, 1)
	go func() {
		waited <- run(t.Context(), []string{"migrate", "wait"}, []string{database}, io.Discard, stderr)
		stderr.Close()
	}()
	if lines := bufio.NewScanner(logs); !lines.Scan() || !strings.Contains(lines.Text(), "waiting for the schema") {
		t.Fatalf("it says %q", lines.Text())
	}
	go io.Copy(io.Discard, logs)
	select {
	case err := <-waited:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	if err := run(t.Context(), []string{"migrate"}, []string{database}, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Error(err)
	}
}

// A wait has an end, and says what it waited for, once. By the bubble's clock.
func TestAWaitForTheMigrationHasAnEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		old, looks, begun := errors.New("the schema is old"), 0, time.Now()
		var said strings.Builder
		err := waitMigrated(t.Context(), func(context.Context) error { looks++; return old }, slog.New(slog.NewTextHandler(&said, nil)))
		if took := time.Since(begun); !errors.Is(err, old) || took != waitLimit {
			t.Errorf("after %s: %v", took, err)
		}
		if most := int(waitLimit/waitEvery) + 1; looks < most-1 || looks > most {
			t.Errorf("%d looks", looks)
		}
		if n := strings.Count(said.String(), "waiting for the schema"); n != 1 {
			t.Errorf("it says so %d times", n)
		}
	})
}

// Not parallel: OpenTelemetry reads the process's own environment, and an exporter that is none is one that was looked at.
func TestTracesAreMadeOnlyWhereTheyAreAskedFor(t *testing.T) {
	const none = "OTEL_TRACES_EXPORTER=nonsense"
	name, value, _ := strings.Cut(none, "=")
	t.Setenv(name, value)
	database := "DATABASE_URL=" + pgtest.URL(t)
	if err := run(t.Context(), nil, []string{database, "PORT=0", none}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "OTEL_") {
		t.Errorf("an exporter that is none: %v", err)
	}
	_, _, stop := started(t, database)
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// Not parallel: it is the process's memory.
func TestMemoryIsCollectedInTime(t *testing.T) {
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(math.MaxInt64)
	defer func() { debug.SetGCPercent(percent); debug.SetMemoryLimit(limit) }()
	for set, want := range map[string]struct {
		percent int
		limit   int64
	}{"": {gcPercent, memoryLimit}, "what somebody set": {100, math.MaxInt64}} {
		debug.SetGCPercent(100)
		debug.SetMemoryLimit(math.MaxInt64)
		t.Setenv("GOGC", set)
		t.Setenv("GOMEMLIMIT", set)
		unhurried()
		if p, l := debug.SetGCPercent(100), debug.SetMemoryLimit(-1); p != want.percent || l != want.limit {
			t.Errorf("with %q: %d %%, %d bytes", set, p, l)
		}
	}
}
