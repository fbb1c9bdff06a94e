package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedev/sluice/pkg/llm/llmtest"
	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

// asMain has this binary be the program: what it exits with only a process of its own shows.
const asMain = "SLUICE_TEST_WORKER_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
		return
	}
	pgtest.Main(m)
}

const patience = 2 * time.Minute // for an event that has to come

const credential = "OPENAI_API_KEY=sk-test"

// line is one of the log's.
type line struct {
	Msg, Address string
	Concurrency  int
	Lines        []string
}

// program is the whole program, running.
type program struct {
	t      *testing.T
	admin  string
	log    []line // up to where it had started; to its end, once it was stopped
	lines  *bufio.Scanner
	cancel context.CancelFunc
	done   chan error
}

// start runs the program until it says that it has started.
func start(t *testing.T, environ ...string) *program {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	logs, out := io.Pipe()
	p := &program{t: t, lines: bufio.NewScanner(logs), cancel: cancel, done: make(chan error, 1)}
	go func() {
		err := run(ctx, nil, append(environ, credential, "SLUICE_ADMIN_ADDR=127.0.0.1:0"), io.Discard, out)
		out.Close()
		p.done <- err
	}()
	if !p.readTo("worker started") {
		t.Fatalf("not started: %v", <-p.done)
	}
	p.admin = "http://" + p.said("admin endpoints").Address
	return p
}

// readTo reads the log up to a message. False: it ended before that.
func (p *program) readTo(msg string) bool {
	p.t.Helper()
	for p.lines.Scan() {
		var l line
		if err := json.Unmarshal(p.lines.Bytes(), &l); err != nil {
			p.t.Fatalf("the log is no JSON: %s", p.lines.Text())
		}
		if p.log = append(p.log, l); l.Msg == msg {
			return true
		}
	}
	return false
}

// said gives the log's first line with so much in its message.
func (p *program) said(msg string) line {
	p.t.Helper()
	at := slices.IndexFunc(p.log, func(l line) bool { return strings.Contains(l.Msg, msg) })
	if at < 0 {
		p.t.Fatalf("%q is not in the log: %+v", msg, p.log)
	}
	return p.log[at]
}

// stop does what SIGTERM does and reads the log to its end.
func (p *program) stop() error {
	p.t.Helper()
	p.cancel()
	p.readTo("")
	return <-p.done
}

// awaitMetric waits until a line is among the metrics.
func (p *program) awaitMetric(line string) {
	p.t.Helper()
	for begun := time.Now(); ; {
		if _, body := get(p.t, p.admin+"/metrics"); strings.Contains(body, line+"\n") {
			return
		} else if time.Since(begun) > patience {
			p.t.Fatalf("never told: %s", line)
		}
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func enqueue(t *testing.T, db *pgx.Conn) {
	t.Helper()
	if _, err := db.Exec(t.Context(), `select enqueue_job('diary.entry', '{"input":"x"}')`); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

func TestFromStartToStop(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	p := start(t, "DATABASE_URL="+url, "SLUICE_CONCURRENCY=7")
	if l := p.said("worker started"); l.Concurrency != 7 || !slices.Contains(l.Lines, "openai:gpt-5") {
		t.Errorf("it says that it started with %+v", l)
	}
	for path, word := range map[string]string{
		"/livez": "ok", "/readyz": "ok", "/debug/pprof/": "goroutine", "/debug/pprof/symbol": "num_symbols",
		"/metrics": `sluice_pool_connections_max{pool="pulse"} 2`, "/metrics?load": "sluice_worker_slots 7",
	} {
		if status, body := get(t, p.admin+path); status != http.StatusOK || !strings.Contains(body, word) {
			t.Errorf("%s: %d without %q: %.200s", path, status, word, body)
		}
	}
	db := connect(t, url)
	for sql, want := range map[string]int{
		`select count(*) from workers`:                               1,
		`select count(*) from job_types where name = 'kb.ingest'`:    1,
		`select count(*) from upstreams where name = 'openai:gpt-5'`: 1,
	} {
		var n int
		if err := db.QueryRow(t.Context(), sql).Scan(&n); err != nil || n != want {
			t.Errorf("%s: %d, %v", sql, n, err)
		}
	}
	if err := p.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	p.said("worker stopped")
	if resp, err := http.Get(p.admin + "/livez"); err == nil {
		resp.Body.Close()
		t.Error("its admin port answers after its end")
	}
}

// A worker whose schema is too old for it lives, and is not ready.
func TestNotReadyWithAnOldSchema(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	p := start(t, "DATABASE_URL="+url)
	_, err := connect(t, url).Exec(t.Context(), `update sluice_db_version set is_applied = false where version_id = (select max(version_id) from sluice_db_version)`)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := get(t, p.admin+"/readyz"); status != http.StatusServiceUnavailable || strings.Contains(body, "version") {
		t.Errorf("/readyz: %d %s", status, body)
	}
	if status, _ := get(t, p.admin+"/livez"); status != http.StatusOK {
		t.Errorf("/livez: %d", status)
	}
	if err := p.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
}

// What ends within the limit counts.
func TestACallMayEndWithinTheDrainLimit(t *testing.T) {
	t.Parallel()
	url, sim := pgtest.URL(t), llmtest.Start(t)
	sim.Hold()
	p := start(t, "DATABASE_URL="+url, "OPENAI_BASE_URL="+sim.BaseURL(), "SLUICE_DRAIN_LIMIT=1h")
	db := connect(t, url)
	enqueue(t, db)
	if err := sim.AwaitHeld(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	p.cancel()
	sim.Release()
	if err := p.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	var state string
	if err := db.QueryRow(t.Context(), `select state from jobs`).Scan(&state); err != nil || state != "done" {
		t.Errorf("the job is %s, %v", state, err)
	}
}

// An upstream whose account is empty is probed as often as is set, and whoever scrapes the worker sees it stop.
func TestTheHoldProbeIntervalThatIsSetCounts(t *testing.T) {
	t.Parallel()
	url, sim := pgtest.URL(t), llmtest.Start(t)
	sim.SetMode("out_of_credit")
	p := start(t, "DATABASE_URL="+url, "OPENAI_BASE_URL="+sim.BaseURL(), "SLUICE_HOLD_PROBE_INTERVAL=4h")
	db := connect(t, url)
	enqueue(t, db)
	p.awaitMetric(`sluice_breaker_transitions_total{from="closed",reason="account",to="open",upstream="openai:gpt-5"} 1`)
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	var pause time.Duration
	if err := db.QueryRow(t.Context(), `select retry_at - opened_at from upstreams where name = 'openai:gpt-5'`).Scan(&pause); err != nil || pause < 2*time.Hour {
		t.Errorf("probed after %s, %v", pause, err)
	}
}

// Beats and notifications have connections of their own, which nothing else can take.
func TestConnectionsOfTheirOwn(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	p := start(t, "DATABASE_URL="+url, "SLUICE_DEATH_AFTER=3s")
	db := connect(t, url)
	for name, does := range map[string]string{"sluice-pulse": "update workers set beat%", "sluice-listen": "listen %"} {
		for n, begun := 0, time.Now(); n == 0; {
			if time.Since(begun) > patience {
				t.Fatalf("%s never does %q", name, does)
			}
			if err := db.QueryRow(t.Context(), `select count(*) from pg_stat_activity where datname = current_database() and application_name = $1
					and query ilike $2`, name, does).Scan(&n); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}

func TestWithoutAnAddressNothingIsServed(t *testing.T) {
	t.Parallel()
	var said strings.Builder
	stop, err := serveAdmin("", nil, http.NotFoundHandler(), slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil || said.Len() > 0 {
		t.Fatalf("%v: %s", err, said.String())
	}
	stop()
}

// What would go on past the configured drain limit is given back, uncharged, and a dead worker's jobs have the configured grace.
func TestTheDrainLimitThatIsSetCounts(t *testing.T) {
	t.Parallel()
	url, sim := pgtest.URL(t), llmtest.Start(t)
	sim.Hold()
	p := start(t, "DATABASE_URL="+url, "OPENAI_BASE_URL="+sim.BaseURL(), "SLUICE_DRAIN_LIMIT=0s", "SLUICE_DEATH_AFTER=10m")
	db := connect(t, url)
	enqueue(t, db)
	if err := sim.AwaitHeld(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	var grace time.Duration
	if err := db.QueryRow(t.Context(), `select deadline_at - started_at - t.timeout_ms * interval '1 ms' from jobs j join job_types t on t.name = j.type`).Scan(&grace); err != nil || grace != 10*time.Minute {
		t.Errorf("a grace of %s, %v", grace, err)
	}
	if err := p.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	p.said("the drain limit is over")
	var state, outcome string
	var attempts int
	if err := db.QueryRow(t.Context(), `select state, j.attempts, outcome from jobs j join attempts a on a.job_id = j.id`).Scan(&state, &attempts, &outcome); err != nil {
		t.Fatal(err)
	}
	if state != "queued" || outcome != "interrupted" || attempts != 0 {
		t.Errorf("the job is %s with %d attempts, its try %s", state, attempts, outcome)
	}
}

// One of two lines holds all four slots: by itself it would get half of them.
func TestTheShareThatIsSetCounts(t *testing.T) {
	t.Parallel()
	url, sim := pgtest.URL(t), llmtest.Start(t)
	file := filepath.Join(t.TempDir(), "sluice.yaml")
	if err := os.WriteFile(file, []byte("types: {other: {upstream: openai, model: gpt-4}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, "DATABASE_URL="+url, "OPENAI_BASE_URL="+sim.BaseURL(), "SLUICE_CONFIG="+file, "SLUICE_CONCURRENCY=4",
		"SLUICE_UPSTREAM_SHARE=1", "SLUICE_DRAIN_LIMIT=0s")
	db := connect(t, url)
	enqueue(t, db) // the first call of all goes alone
	if err := errors.Join(sim.AwaitCalls(t.Context(), 1), sim.AwaitIdle(t.Context())); err != nil {
		t.Fatal(err)
	}
	sim.Hold()
	for range 4 {
		enqueue(t, db)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := sim.AwaitHeld(ctx, 4); err != nil {
		t.Errorf("four calls were never in flight: %v", err)
	}
}

// It says which webhooks it does not send, and why.
func TestWebhooksThatAreNotSentAreSaid(t *testing.T) {
	t.Parallel()
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	file := filepath.Join(t.TempDir(), "sluice.yaml")
	if err := os.WriteFile(file, []byte("webhooks: {acme: {url: 'https://acme.example/hook', secret_env: ACME_SECRET}, bolt: {secret_env: ACME_SECRET}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		environ   []string
		says      string
		endpoints int
	}{
		"no secret":         {nil, "no secret to sign them", 0},
		"a common secret":   {[]string{"SLUICE_WEBHOOK_SECRET=" + secret}, "no host of a callback_url is allowed", 0},
		"a tenant's secret": {[]string{"SLUICE_CONFIG=" + file, "ACME_SECRET=" + secret}, "no host of a callback_url is allowed", 1},
		"all is sent":       {[]string{"SLUICE_WEBHOOK_SECRET=" + secret, "SLUICE_WEBHOOK_HOSTS=*"}, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.URL(t)
			p := start(t, append(c.environ, "DATABASE_URL="+url)...)
			var endpoints int
			if err := connect(t, url).QueryRow(t.Context(), `select count(*) from webhook_endpoints`).Scan(&endpoints); err != nil || endpoints != c.endpoints {
				t.Errorf("%d endpoints, %v", endpoints, err)
			}
			if err := p.stop(); err != nil {
				t.Error(err)
			}
			said := slices.IndexFunc(p.log, func(l line) bool { return strings.Contains(l.Msg, "webhooks") })
			if (said < 0) != (c.says == "") || said >= 0 && !strings.Contains(p.log[said].Msg, c.says) {
				t.Errorf("it says %+v, want %q", p.log, c.says)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, c := range map[string]struct {
		args, environ []string
		want          []string
	}{
		"an argument":        {[]string{"serve"}, nil, []string{"no arguments"}},
		"nothing configured": {nil, nil, []string{"DATABASE_URL"}},
		"all mistakes":       {nil, []string{"SLUICE_CONCURRENCY=x", "SLUICE_NOPE=1", "OPENAI_API_KEY=secret key"}, []string{"DATABASE_URL", "SLUICE_CONCURRENCY", "SLUICE_NOPE", "OPENAI_API_KEY"}},
		"no database":        {nil, []string{credential, "DATABASE_URL=postgres://u:secret@127.0.0.1:1/x"}, []string{"127.0.0.1"}},
		"no schema":          {nil, []string{credential, "DATABASE_URL=" + pgtest.EmptyURL(t)}, []string{"api migrate"}},
		"a port in use":      {nil, []string{credential, "DATABASE_URL=" + pgtest.URL(t), "SLUICE_ADMIN_ADDR=" + taken.Addr().String()}, []string{"SLUICE_ADMIN_ADDR", taken.Addr().String()}},
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
		if strings.Contains(err.Error(), "secret key") || strings.Contains(err.Error(), "u:secret") {
			t.Errorf("%s: tells a secret: %v", name, err)
		}
	}
}

// Whoever started it sees from its end that it did not start, and on standard error why.
func TestARefusalIsAnExitCode(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = []string{asMain + "=1", credential, "SLUICE_CONCURRENCY=x"}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("ended with %v", err)
	}
	if said := stderr.String(); !strings.HasPrefix(said, "worker: 2 mistakes") || !strings.Contains(said, "\n  SLUICE_CONCURRENCY: ") {
		t.Errorf("it says %q", said)
	}
}

// What was asked for is on standard output, where a pager or grep finds it.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"help", "-h", "-help", "--help"} {
		var out, log strings.Builder
		if err := run(t.Context(), []string{verb}, nil, &out, &log); err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"SIGTERM", "DATABASE_URL", "SLUICE_CONCURRENCY"} {
			if !strings.Contains(out.String(), word) {
				t.Errorf("%s does not tell about %s", verb, word)
			}
		}
		if strings.Contains(out.String(), "SLUICE_CORS_ORIGINS") || log.Len() > 0 {
			t.Errorf("%s tells what is the API's, or %q on standard error", verb, log.String())
		}
	}
}

// timeout(1) sends its signal twice at the same moment: the second one must not keep the worker from draining.
func TestASignalThatComesTwiceAtOnceIsOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, signalled := context.WithCancel(t.Context())
		var ends atomic.Bool // the process, with the next signal
		heedInsistence(ctx, func() { ends.Store(true) })
		signalled()
		time.Sleep(echo - time.Millisecond) // by the bubble's clock, as below
		synctest.Wait()
		if ends.Load() {
			t.Error("an echo of the first signal ends the process")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if !ends.Load() {
			t.Error("nobody can insist")
		}
	})
}

// Not parallel: OpenTelemetry reads the process's own environment, and an exporter that is none is one that was looked at.
func TestTracesAreMadeOnlyWhereTheyAreAskedFor(t *testing.T) {
	const none = "OTEL_TRACES_EXPORTER=nonsense"
	name, value, _ := strings.Cut(none, "=")
	t.Setenv(name, value)
	database := "DATABASE_URL=" + pgtest.URL(t)
	if err := run(t.Context(), nil, []string{credential, database, none}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "OTEL_") {
		t.Errorf("an exporter that is none: %v", err)
	}
	if err := start(t, database).stop(); err != nil {
		t.Error(err)
	}
}

// Not parallel: it is the process's memory.
func TestMemoryIsCollectedInTime(t *testing.T) {
	percent := debug.SetGCPercent(100)
	defer func() { debug.SetGCPercent(percent) }()
	for set, want := range map[string]int{"": gcPercent, "what somebody set": 100} {
		debug.SetGCPercent(100)
		t.Setenv("GOGC", set)
		if err := run(t.Context(), nil, []string{credential, "DATABASE_URL=postgres://127.0.0.1:1/x"}, io.Discard, io.Discard); err == nil {
			t.Error("it runs without a database")
		}
		if got := debug.SetGCPercent(100); got != want {
			t.Errorf("with GOGC %q: %d %%", set, got)
		}
	}
}
