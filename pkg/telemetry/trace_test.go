package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/sluicedev/sluice/pkg/api"
	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/llm"
	"github.com/sluicedev/sluice/pkg/llm/llmtest"
	"github.com/sluicedev/sluice/pkg/llm/openai"
	"github.com/sluicedev/sluice/pkg/pg/pgtest"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/telemetry"
	"github.com/sluicedev/sluice/pkg/upstream"
	"github.com/sluicedev/sluice/pkg/worker"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// arrivals has whoever waits hear of each span that ended.
type arrivals struct {
	*tracetest.InMemoryExporter
	spans chan tracetest.SpanStub
}

func (a *arrivals) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	for _, s := range tracetest.SpanStubsFromReadOnlySpans(spans) {
		a.spans <- s
	}
	return a.InMemoryExporter.ExportSpans(ctx, spans)
}

// A client's trace goes through the API, a row and another process to the call that its job led to, whatever brought the job.
func TestACallLinksToTheTraceThatEnqueuedIt(t *testing.T) {
	t.Parallel()
	db, types, log := pgtest.New(t), jobtype.Builtin("gpt-5"), slog.New(slog.DiscardHandler)
	seen := &arrivals{tracetest.NewInMemoryExporter(), make(chan tracetest.SpanStub, 100)}
	tracer := telemetry.NewTracer(sdk.NewTracerProvider(sdk.WithSyncer(seen)))
	upstreams := upstream.New(db)
	server, err := api.New(api.Config{Queue: queue.New(db, types), Upstreams: upstreams, DB: db, Log: log, Enqueuing: tracer.Enqueue})
	if err != nil {
		t.Fatal(err)
	}
	const client = "4bf92f3577b34da6a3ce929d0e0e4736"
	post := func(path, body string) {
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Traceparent", "00-"+client+"-00f067aa0ba902b7-01")
		w := httptest.NewRecorder()
		if server.Handler().ServeHTTP(w, r); w.Code != http.StatusAccepted {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	const job = `{"type":"kb.ingest","payload":{"input":"hello"}}`
	post("/api/ai/enqueue", job)
	post("/api/ai/enqueue/batch", "["+job+","+job+"]")

	sim := llmtest.Start(t)
	w := worker.New(db, db, upstreams, worker.Config{
		Types: types, Concurrency: 5, DeathAfter: 30 * time.Second, DrainLimit: 10 * time.Second, Log: log,
		Providers: map[string]llm.Provider{"openai": openai.New(openai.Config{BaseURL: sim.BaseURL(), APIKey: "sk-test"})},
		Hooks:     worker.Hooks{Calling: tracer.Call, TraceID: telemetry.TraceID},
	})
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	defer func() { stop(); <-ended }()

	enqueues := map[trace.SpanID]bool{}
	var batches []int64
	for calls := 0; calls < 3; {
		var span tracetest.SpanStub
		select {
		case span = <-seen.spans:
		case <-time.After(2 * time.Minute):
			t.Fatalf("%d calls were traced, want 3", calls)
		}
		if span.SpanKind == trace.SpanKindProducer {
			enqueues[span.SpanContext.SpanID()] = true
			if got := span.SpanContext.TraceID().String(); span.Name != "enqueue" || got != client {
				t.Errorf("%s of trace %s, want the client's", span.Name, got)
			}
			has := attribute.NewSet(span.Attributes...)
			n, _ := has.Value("messaging.batch.message_count")
			batches = append(batches, n.AsInt64())
			continue
		}
		calls++
		if span.Name != "chat gpt-5" || span.SpanKind != trace.SpanKindClient || span.Parent.IsValid() {
			t.Errorf("got %q, %s, child of %v", span.Name, span.SpanKind, span.Parent)
		}
		if len(span.Links) != 1 || !enqueues[span.Links[0].SpanContext.SpanID()] || span.Links[0].SpanContext.TraceID().String() != client {
			t.Errorf("its links: %v", span.Links)
		}
		has := attribute.NewSet(span.Attributes...)
		for key, want := range map[attribute.Key]string{
			"gen_ai.provider.name": "openai", "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5", "sluice.outcome": "ok",
			"openai.api.type": "responses", "http.response.status_code": "200", "sluice.upstream": "openai:gpt-5", "sluice.job.type": "kb.ingest",
			"sluice.attempt": "1", "gen_ai.response.model": "gpt-5", "gen_ai.response.finish_reasons": `["completed"]`,
		} {
			if got, _ := has.Value(key); got.String() != want {
				t.Errorf("%s is %q, want %q", key, got.String(), want)
			}
		}
		if n, ok := has.Value("gen_ai.usage.output_tokens"); !ok || n.AsInt64() == 0 {
			t.Errorf("no tokens in %v", span.Attributes)
		}
		if id, ok := has.Value("gen_ai.response.id"); !ok || id.AsString() == "" {
			t.Errorf("no response's id in %v", span.Attributes)
		}
	}
	if len(enqueues) != 2 || !slices.Equal(batches, []int64{1, 2}) {
		t.Errorf("%d requests were traced, of %v jobs; want 2, of 1 and 2", len(enqueues), batches)
	}
}

// An exporter that does not answer keeps a process for five seconds, by the bubble's clock.
func TestAnExporterThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var said strings.Builder
		begun := time.Now()
		telemetry.Flush(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, slog.New(slog.NewTextHandler(&said, nil)))
		if took := time.Since(begun); took != 5*time.Second || !strings.Contains(said.String(), "could not be sent") {
			t.Errorf("after %s: %s", took, said.String())
		}
	})
}

func TestTracesAreOffUnlessAskedFor(t *testing.T) {
	t.Parallel()
	for _, env := range []map[string]string{
		{}, {"OTEL_SERVICE_NAME": "x"}, {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
		{"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
	} {
		tracer, stop, err := telemetry.Traces(t.Context(), "sluice-test", env, slog.New(slog.DiscardHandler))
		if tracer != nil || err != nil || stop(t.Context()) != nil {
			t.Errorf("%v: %v, %v", env, tracer, err)
		}
	}
}

func TestASpanOfAFailureTellsNoText(t *testing.T) {
	t.Parallel()
	seen := tracetest.NewInMemoryExporter()
	tracer := telemetry.NewTracer(sdk.NewTracerProvider(sdk.WithSyncer(seen)))
	_, end := tracer.Enqueue(t.Context(), http.Header{}, 1)
	end(errors.New("xyzzy"))
	_, ended := tracer.Call(t.Context(), queue.Claimed{Type: "tidy", Traceparent: "nonsense"})
	ended(queue.End{Outcome: queue.Rejected, Status: 400, Error: "xyzzy"})
	spans := seen.GetSpans()
	if len(spans) != 2 || len(spans[1].Links) > 0 || spans[1].Name != "chat" {
		t.Fatalf("got %+v", spans)
	}
	if text := fmt.Sprintf("%+v", spans); strings.Contains(text, "xyzzy") {
		t.Errorf("it tells: %s", text)
	}
	for _, span := range spans {
		if span.Status.Code != codes.Error {
			t.Errorf("%s failed and is %s", span.Name, span.Status.Code)
		}
	}
	has := attribute.NewSet(spans[1].Attributes...)
	if got, _ := has.Value("error.type"); got.AsString() != "400" {
		t.Errorf("error.type is %q", got.AsString())
	}
}

// What nobody knows of a call is not told, and a call within another's is a trace of its own.
func TestASpanTellsNoMoreThanIsKnown(t *testing.T) {
	t.Parallel()
	seen := tracetest.NewInMemoryExporter()
	tracer := telemetry.NewTracer(sdk.NewTracerProvider(sdk.WithSyncer(seen)))
	ctx, ended := tracer.Call(t.Context(), queue.Claimed{Type: "tidy"})
	inner, innerEnded := tracer.Call(ctx, queue.Claimed{Type: "tidy"})
	innerEnded(queue.End{Outcome: queue.OK, Result: []byte(`{"output_text":"a handler's own"}`), InputTokens: new(int64(3))})
	ended(queue.End{Outcome: queue.Interrupted})
	spans := seen.GetSpans()
	if len(spans) != 2 || spans[0].Parent.IsValid() || spans[0].Status.Code != codes.Unset {
		t.Fatalf("got %+v", spans)
	}
	if got, want := telemetry.TraceID(inner), spans[0].SpanContext.TraceID().String(); got != want || telemetry.TraceID(t.Context()) != "" {
		t.Errorf("the id for the log is %q, want %s, and none without a trace", got, want)
	}
	for _, span := range spans {
		for _, a := range span.Attributes {
			if text := string(a.Key); strings.HasPrefix(text, "gen_ai.response") || strings.HasPrefix(text, "gen_ai.usage") || text == "http.response.status_code" {
				t.Errorf("it tells %s: %s", text, a.Value.String())
			}
		}
	}
}

// The operator's name for the service wins over ours.
func TestTracesGoToTheCollectorUnderTheirName(t *testing.T) {
	for set, want := range map[string]string{"": "sluice-test", "of-the-operator": "of-the-operator"} {
		got := make(chan []byte, 10)
		collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			got <- body
		}))
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
		t.Setenv("OTEL_SERVICE_NAME", set)
		tracer, stop, err := telemetry.Traces(t.Context(), "sluice-test", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "set"}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		_, ended := tracer.Call(t.Context(), queue.Claimed{Type: "tidy"})
		ended(queue.End{Outcome: queue.OK})
		if err := stop(t.Context()); err != nil {
			t.Error(err)
		}
		collector.Close()
		close(got)
		var sent []byte
		for body := range got {
			sent = append(sent, body...)
		}
		if !bytes.Contains(sent, []byte(want)) || want != "sluice-test" && bytes.Contains(sent, []byte("sluice-test")) {
			t.Errorf("named %q, the service is not %s: %q", set, want, sent)
		}
	}
}

// OpenTelemetry's own words go to the log, one JSON object a line, and tell no secret; and nobody waits for a collector that
// is away or does not answer.
func TestACollectorThatIsAwayIsALineInTheLog(t *testing.T) {
	away, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	away.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:xyzzy@"+away.Addr().String())
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "Bearer xyzzy") // should be authorization=Bearer%20...
	t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
	var said bytes.Buffer
	log := telemetry.Logger(&said, slog.LevelInfo)
	tracer, stop, err := telemetry.Traces(t.Context(), "sluice-test", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "set"}, log)
	if err != nil {
		t.Fatal(err)
	}
	for range 10_000 { // more than the queue holds, which would block if it did not drop
		_, ended := tracer.Call(t.Context(), queue.Claimed{Type: "kb.ingest"})
		ended(queue.End{Outcome: queue.OK})
	}
	telemetry.Flush(stop, log)
	for _, told := range []string{`"msg":"traces are lost"`, `"msg":"OpenTelemetry failed","at":"parse headers"`} {
		if !strings.Contains(said.String(), told) {
			t.Errorf("%s is not told in %s", told, said.String())
		}
	}
	for line := range strings.Lines(said.String()) {
		if !json.Valid([]byte(line)) || strings.Contains(line, "xyzzy") {
			t.Errorf("it says %s", line)
		}
	}
	if strings.Contains(said.String(), "TracerProvider created") {
		t.Errorf("it tells of OpenTelemetry's insides: %s", said.String())
	}
}
