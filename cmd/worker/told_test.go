package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/sluicedev/sluice/pkg/llm/llmtest"
	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

// collected takes what is posted to it.
func collected(t *testing.T, answer http.HandlerFunc) (url string, bodies chan string) {
	t.Helper()
	bodies = make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- r.URL.Path + " " + r.Header.Get("Authorization") + "\n" + string(body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, bodies
}

// Not parallel: OpenTelemetry reads the process's own environment. A call is made with the key that is set, and told in the
// log at the level that is set; its trace is sent before the program ends.
func TestACallIsTold(t *testing.T) {
	collector, traces := collected(t, func(http.ResponseWriter, *http.Request) {})
	sim := llmtest.Start(t)
	provider, calls := collected(t, sim.ServeHTTP)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
	database := pgtest.URL(t)
	p := start(t, "DATABASE_URL="+database, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector, "OPENAI_BASE_URL="+provider+"/v1", "SLUICE_LOG_LEVEL=debug")
	db := connect(t, database)
	enqueue(t, db)
	if call := <-calls; !strings.Contains(call, " Bearer sk-test\n") {
		t.Errorf("it calls with %s", call)
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	p.said("an attempt ended")
	select {
	case trace := <-traces:
		if !strings.Contains(trace, "sluice-worker") || !strings.Contains(trace, "chat gpt-5") {
			t.Errorf("the trace is %q", trace)
		}
	default:
		t.Error("its trace was not sent")
	}
}

// Each tenant's endpoint is told with the tenant's own secret, right when the job ends and not with the look of each minute;
// and a stop waits for the calls that are under way.
func TestWebhooksAreSentToTheirEnd(t *testing.T) {
	t.Parallel()
	secrets := map[string]string{"/acme": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "/bolt": "whsec_" + strings.Repeat("b", 32)}
	arrived, release := make(chan string, 2), make(chan struct{})
	free := sync.OnceFunc(func() { close(release) })
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if wh, err := standardwebhooks.NewWebhook(secrets[r.URL.Path]); err != nil || wh.Verify(body, r.Header) != nil {
			t.Errorf("%s is not signed with its secret: %v", r.URL.Path, err)
		}
		arrived <- r.URL.Path
		if _, first := <-release; !first {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(receiver.Close)
	t.Cleanup(free)
	file := filepath.Join(t.TempDir(), "sluice.yaml")
	hooks := fmt.Sprintf("webhooks: {acme: {url: '%s/acme', secret_env: ACME_SECRET}, bolt: {url: '%s/bolt', secret_env: BOLT_SECRET}}\n", receiver.URL, receiver.URL)
	if err := os.WriteFile(file, []byte(hooks), 0o600); err != nil {
		t.Fatal(err)
	}
	url, sim := pgtest.URL(t), llmtest.Start(t)
	p := start(t, "DATABASE_URL="+url, "OPENAI_BASE_URL="+sim.BaseURL(), "SLUICE_CONFIG="+file, "ACME_SECRET="+secrets["/acme"], "BOLT_SECRET="+secrets["/bolt"],
		"SLUICE_WEBHOOK_NETWORKS=127.0.0.0/8,::1/128")
	db := connect(t, url)
	if _, err := db.Exec(t.Context(), `select enqueue_job('diary.entry', '{"input":"x"}', tenant => t) from unnest('{acme,bolt}'::text[]) t`); err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for range 2 {
		select {
		case path := <-arrived:
			told[path] = true
		case <-time.After(50 * time.Second): // before the look of the first minute
			t.Fatalf("only %v are told", told)
		}
	}
	if len(told) != 2 {
		t.Errorf("one is told twice: %v", told)
	}
	release <- struct{}{}
	p.awaitMetric(`sluice_webhook_duration_seconds_count{result="delivered"} 1`)
	p.cancel()
	if !p.readTo("worker stopped") {
		t.Fatalf("it ended: %v", <-p.done)
	}
	free()
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	var delivered, again int
	if err := db.QueryRow(t.Context(), `select count(delivered_at), count(due_at) filter (where last_error is not null) from webhook_deliveries`).Scan(&delivered, &again); err != nil || delivered != 1 || again != 1 {
		t.Errorf("%d delivered and %d to be tried again, of one each, %v", delivered, again, err)
	}
}
