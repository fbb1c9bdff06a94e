package telemetry_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/sluicedev/sluice/pkg/pg/pgtest"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/telemetry"
	"github.com/sluicedev/sluice/pkg/upstream"
	"github.com/sluicedev/sluice/pkg/worker"
)

// scrape is what Prometheus gets.
func scrape(m *telemetry.Metrics) string {
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

// tells looks for lines in what was scraped, and at all of it as promtool would.
func tells(t *testing.T, text string, lines ...string) {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "sluice_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	if err != nil {
		t.Error(err)
	}
	for _, line := range lines {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
}

func TestAWorkerTellsOfItsAttempts(t *testing.T) {
	t.Parallel()
	m := telemetry.NewWorker()
	ended := m.Hooks().Attempts("openai:gpt-5", "kb.ingest")
	ended(queue.End{Outcome: queue.OK, Charged: true, InputTokens: new(int64(30)), OutputTokens: new(int64(12))}, 2*time.Hour, 100*time.Second)
	ended(queue.End{Outcome: queue.RateLimited, RetryAfter: 7 * time.Second}, -time.Second, time.Second) // clocks may step
	ended(queue.End{Outcome: queue.Interrupted}, time.Second, 0)                                         // was never sent
	ended(queue.End{Outcome: queue.WasCancelled, InputTokens: new(int64(-1)), OutputTokens: new(int64(-1))}, 0, 0)
	ended(queue.End{Outcome: queue.OK, OutputTokens: new(int64(5))}, 0, 0) // a provider may tell anything
	const of = `{type="kb.ingest",upstream="openai:gpt-5"}`
	tells(t, scrape(m.Metrics),
		`sluice_attempts_total{outcome="ok",type="kb.ingest",upstream="openai:gpt-5"} 2`,
		`sluice_attempts_total{outcome="cancelled",type="kb.ingest",upstream="openai:gpt-5"} 1`,
		`sluice_attempts_total{outcome="rate_limited",type="kb.ingest",upstream="openai:gpt-5"} 1`,
		`sluice_attempts_total{outcome="error",type="kb.ingest",upstream="openai:gpt-5"} 0`,
		`sluice_attempts_charged_total`+of+` 1`,
		`sluice_attempt_duration_seconds_count`+of+` 2`,
		`sluice_attempt_duration_seconds_bucket{type="kb.ingest",upstream="openai:gpt-5",le="80"} 1`,
		`sluice_attempt_duration_seconds_bucket{type="kb.ingest",upstream="openai:gpt-5",le="160"} 2`,
		`sluice_job_wait_seconds_count`+of+` 5`,
		`sluice_job_wait_seconds_sum`+of+` 7201`,
		`sluice_job_wait_seconds_bucket{type="kb.ingest",upstream="openai:gpt-5",le="3600"} 4`,
		`sluice_tokens_total{direction="input",type="kb.ingest",upstream="openai:gpt-5"} 30`,
		`sluice_tokens_total{direction="output",type="kb.ingest",upstream="openai:gpt-5"} 12`,
		`sluice_retry_after_seconds_sum{upstream="openai:gpt-5"} 7`, `sluice_retry_after_seconds_count{upstream="openai:gpt-5"} 1`,
	)
}

func TestAWorkerTellsOfItsStatementsAndItsLoad(t *testing.T) {
	t.Parallel()
	m := telemetry.NewWorker()
	hooks := m.Hooks()
	hooks.Claimed(0, time.Millisecond)
	hooks.Claimed(500, 40*time.Millisecond)
	hooks.Recorded(8, 3, time.Millisecond)
	hooks.Swept(worker.Rescued, 4)
	hooks.Swept(worker.Stranded, 2)
	m.BreakerChanged(upstream.Change{Upstream: "openai:gpt-5", From: "closed", To: "open", Reason: "failures"})
	m.Load(func() worker.Load {
		return worker.Load{Slots: 100, Running: 7, Lines: []worker.LineLoad{
			{Name: "openai:gpt-5", Running: 5, Permits: 3, Paced: true, Status: &upstream.Status{State: "half-open"}},
			{Name: "tidy", Running: 2},
		}}
	})
	m.Delivered(204, nil, time.Millisecond)
	m.Delivered(302, errors.New("a redirect"), time.Millisecond)
	m.Delivered(0, errors.New("no answer"), time.Second)
	text := scrape(m.Metrics)
	tells(t, text,
		`sluice_webhook_duration_seconds_count{result="delivered"} 1`, `sluice_webhook_duration_seconds_count{result="refused"} 1`,
		`sluice_webhook_duration_seconds_count{result="failed"} 1`,
		`sluice_claims_empty_total 1`, `sluice_claim_jobs_sum 500`, `sluice_claim_jobs_count 1`, `sluice_claim_duration_seconds_count 2`,
		`sluice_ends_total 8`, `sluice_ends_late_total 3`,
		`sluice_swept_total{sweep="rescued"} 4`, `sluice_swept_total{sweep="buried"} 0`, `sluice_swept_total{sweep="expired"} 0`, `sluice_stranded_jobs_total 2`,
		`sluice_breaker_transitions_total{from="closed",reason="failures",to="open",upstream="openai:gpt-5"} 1`,
		`sluice_worker_slots 100`, `sluice_worker_slots_in_use{upstream="tidy"} 2`,
		`sluice_permits{upstream="openai:gpt-5"} 3`, `sluice_worker_breaker_state{upstream="openai:gpt-5"} 1`,
	)
	for _, untold := range []string{`sluice_permits{upstream="tidy"}`, `sweep="stranded"`} { // needs none; has a name of its own
		if strings.Contains(text, untold) {
			t.Errorf("%s is told", untold)
		}
	}
}

func TestAnAPITellsOfTheFleet(t *testing.T) {
	t.Parallel()
	m := telemetry.NewAPI()
	m.Answered("POST", "/api/ai/enqueue", 202, 3*time.Millisecond)
	m.Streams(func() int64 { return 3 })
	var down [3]error
	m.Fleet(telemetry.Fleet{
		Counts: func(context.Context) (queue.Counts, error) {
			return queue.Counts{Queued: 4, Running: 5, Delayed: 6, Failed: 7, Done: 8, Cancelled: 9, OldestQueued: time.Minute}, down[0]
		},
		Upstreams: func(context.Context) ([]upstream.Status, error) {
			return []upstream.Status{{Name: "openai:gpt-5", State: "open", Reason: "account", Requests: upstream.Dimension{Limit: new(int64(500)), Remaining: new(int64(40)), Reserve: 10}},
				{Name: "openai:o3", State: "closed"}}, down[1]
		},
		Backlog: func(context.Context) (int64, error) { return 3, down[2] },
		Limit:   time.Second, Log: slog.New(slog.DiscardHandler),
	})
	text := scrape(m.Metrics)
	tells(t, text,
		`sluice_http_requests_total{method="POST",route="/api/ai/enqueue",status="202"} 1`,
		`sluice_event_streams 3`, `sluice_database_up 1`, `sluice_queue_depth{state="queued"} 4`, `sluice_queue_depth{state="running"} 5`, `sluice_queue_depth{state="delayed"} 6`,
		`sluice_queue_depth{state="failed"} 7`, `sluice_queue_depth{state="done"} 8`, `sluice_queue_depth{state="cancelled"} 9`, `sluice_queue_oldest_age_seconds 60`, `sluice_runnable_backlog 3`,
		`sluice_breaker_state{upstream="openai:gpt-5"} 2`, `sluice_breaker_open{reason="account",upstream="openai:gpt-5"} 1`,
		`sluice_quota_limit{dimension="requests",upstream="openai:gpt-5"} 500`,
		`sluice_quota_remaining{dimension="requests",upstream="openai:gpt-5"} 40`,
		`sluice_quota_reserve{dimension="requests",upstream="openai:gpt-5"} 10`, `sluice_breaker_state{upstream="openai:o3"} 0`,
	)
	if strings.Contains(text, `reason=""`) {
		t.Errorf("a closed breaker is told to be open: %s", text)
	}
	for i := range down {
		down = [3]error{}
		down[i] = errors.New("away")
		text := scrape(m.Metrics)
		tells(t, text, `sluice_database_up 0`)
		if strings.Contains(text, "sluice_queue_depth{") {
			t.Error("it tells a depth that it could not read")
		}
	}
}

// By the bubble's clock: a database that does not answer is told as one that is away, in time for who asked.
func TestADatabaseThatDoesNotAnswerIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := telemetry.NewAPI()
		m.Fleet(telemetry.Fleet{
			Counts:    func(ctx context.Context) (c queue.Counts, err error) { <-ctx.Done(); return c, ctx.Err() },
			Upstreams: func(ctx context.Context) ([]upstream.Status, error) { return nil, ctx.Err() },
			Backlog:   func(ctx context.Context) (int64, error) { return 0, ctx.Err() },
			Limit:     time.Second, Log: slog.New(slog.DiscardHandler),
		})
		begun := time.Now()
		if tells(t, scrape(m.Metrics), `sluice_database_up 0`); time.Since(begun) != time.Second {
			t.Errorf("after %s", time.Since(begun))
		}
	})
}

func TestPoolsTellOfTheirConnections(t *testing.T) {
	t.Parallel()
	cfg := pgtest.New(t).Config()
	cfg.MaxConns, cfg.MinConns = 3, 0
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	acquire := func() *pgxpool.Conn {
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Release)
		return conn
	}
	_, _ = acquire(), acquire()
	acquire().Release()
	gone, leave := context.WithCancel(t.Context())
	leave()
	if conn, err := pool.Acquire(gone); err == nil {
		conn.Release()
		t.Fatal("who has left has a connection")
	}
	m := telemetry.NewAPI()
	m.Pools(map[string]*pgxpool.Pool{"main": pool})
	tells(t, scrape(m.Metrics),
		`sluice_pool_connections{pool="main",state="busy"} 2`, `sluice_pool_connections{pool="main",state="idle"} 1`,
		`sluice_pool_connections{pool="main",state="opening"} 0`, `sluice_pool_connections_max{pool="main"} 3`,
		`sluice_pool_waits_total{pool="main"} 3`, `sluice_pool_aborted_waits_total{pool="main"} 1`)
}

// What a job costs on top: no memory, and so no search among labels.
func TestAnEndAllocatesNothing(t *testing.T) {
	ended := telemetry.NewWorker().Hooks().Attempts("openai:gpt-5", "kb.ingest")
	end := queue.End{Outcome: queue.OK, Charged: true, InputTokens: new(int64(30)), OutputTokens: new(int64(12))}
	if n := testing.AllocsPerRun(100, func() { ended(end, time.Second, time.Second) }); n > 0 {
		t.Errorf("%v allocations an end", n)
	}
}

func BenchmarkEnd(b *testing.B) {
	ended := telemetry.NewWorker().Hooks().Attempts("openai:gpt-5", "kb.ingest")
	end := queue.End{Outcome: queue.OK, Charged: true, InputTokens: new(int64(30)), OutputTokens: new(int64(12))}
	for b.Loop() {
		ended(end, time.Second, time.Second)
	}
}
