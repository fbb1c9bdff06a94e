package telemetry_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

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
	const of = `{type="kb.ingest",upstream="openai:gpt-5"}`
	tells(t, scrape(m.Metrics),
		`sluice_attempts_total{outcome="ok",type="kb.ingest",upstream="openai:gpt-5"} 1`,
		`sluice_attempts_total{outcome="rate_limited",type="kb.ingest",upstream="openai:gpt-5"} 1`,
		`sluice_attempts_total{outcome="error",type="kb.ingest",upstream="openai:gpt-5"} 0`,
		`sluice_attempts_charged_total`+of+` 1`,
		`sluice_attempt_duration_seconds_count`+of+` 2`,
		`sluice_attempt_duration_seconds_bucket{type="kb.ingest",upstream="openai:gpt-5",le="80"} 1`,
		`sluice_attempt_duration_seconds_bucket{type="kb.ingest",upstream="openai:gpt-5",le="160"} 2`,
		`sluice_job_wait_seconds_count`+of+` 3`,
		`sluice_job_wait_seconds_bucket{type="kb.ingest",upstream="openai:gpt-5",le="3600"} 2`,
		`sluice_tokens_total{direction="input",type="kb.ingest",upstream="openai:gpt-5"} 30`,
		`sluice_tokens_total{direction="output",type="kb.ingest",upstream="openai:gpt-5"} 12`,
		`sluice_retry_after_seconds_sum{upstream="openai:gpt-5"} 7`,
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
		`sluice_claims_empty_total 1`, `sluice_claim_jobs_sum 500`, `sluice_claim_duration_seconds_count 2`,
		`sluice_ends_total 8`, `sluice_ends_late_total 3`,
		`sluice_swept_total{sweep="rescued"} 4`, `sluice_swept_total{sweep="buried"} 0`, `sluice_stranded_jobs_total 2`,
		`sluice_breaker_transitions_total{from="closed",reason="failures",to="open",upstream="openai:gpt-5"} 1`,
		`sluice_worker_slots 100`, `sluice_worker_slots_in_use{upstream="tidy"} 2`,
		`sluice_permits{upstream="openai:gpt-5"} 3`, `sluice_worker_breaker_state{upstream="openai:gpt-5"} 1`,
	)
	if strings.Contains(text, `sluice_permits{upstream="tidy"}`) {
		t.Error("permits are told of a type that needs none")
	}
}

func TestAnAPITellsOfTheFleet(t *testing.T) {
	t.Parallel()
	m := telemetry.NewAPI()
	m.Answered("POST", "/api/ai/enqueue", 202, 3*time.Millisecond)
	m.Streams(func() int64 { return 3 })
	var down error
	m.Fleet(telemetry.Fleet{
		Counts: func(context.Context) (queue.Counts, error) {
			return queue.Counts{Queued: 4, OldestQueued: time.Minute}, nil
		},
		Backlog: func(context.Context) (int64, error) { return 3, down },
		Upstreams: func(context.Context) ([]upstream.Status, error) {
			return []upstream.Status{{Name: "openai:gpt-5", State: "open", Reason: "account", Requests: upstream.Dimension{Limit: new(int64(500)), Remaining: new(int64(40)), Reserve: 10}}}, nil
		},
		Limit: time.Second, Log: slog.New(slog.DiscardHandler),
	})
	tells(t, scrape(m.Metrics),
		`sluice_http_requests_total{method="POST",route="/api/ai/enqueue",status="202"} 1`,
		`sluice_event_streams 3`, `sluice_database_up 1`, `sluice_queue_depth{state="queued"} 4`, `sluice_queue_oldest_age_seconds 60`, `sluice_runnable_backlog 3`,
		`sluice_breaker_state{upstream="openai:gpt-5"} 2`, `sluice_breaker_open{reason="account",upstream="openai:gpt-5"} 1`,
		`sluice_quota_limit{dimension="requests",upstream="openai:gpt-5"} 500`,
		`sluice_quota_remaining{dimension="requests",upstream="openai:gpt-5"} 40`,
		`sluice_quota_reserve{dimension="requests",upstream="openai:gpt-5"} 10`,
	)
	down = errors.New("away")
	text := scrape(m.Metrics)
	tells(t, text, `sluice_database_up 0`)
	if strings.Contains(text, "sluice_queue_depth{") {
		t.Error("it tells a depth that it could not read")
	}
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
