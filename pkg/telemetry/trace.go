package telemetry

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/sluicedev/sluice/pkg/queue"
)

// The names of spans and attributes. GenAI's conventions are still "Development", so all of them are here:
// https://github.com/open-telemetry/semantic-conventions-genai
const (
	scope = "github.com/sluicedev/sluice"

	enqueueSpan = "enqueue"
	callSpan    = "chat " // and the model

	batchSize     = attribute.Key("messaging.batch.message_count")
	provider      = attribute.Key("gen_ai.provider.name")
	operation     = attribute.Key("gen_ai.operation.name")
	requestModel  = attribute.Key("gen_ai.request.model")
	responseID    = attribute.Key("gen_ai.response.id")
	responseModel = attribute.Key("gen_ai.response.model")
	finishReasons = attribute.Key("gen_ai.response.finish_reasons")
	inputTokens   = attribute.Key("gen_ai.usage.input_tokens")
	outputTokens  = attribute.Key("gen_ai.usage.output_tokens")
	openAIType    = attribute.Key("openai.api.type")
	httpStatus    = attribute.Key("http.response.status_code")
	errorType     = attribute.Key("error.type")

	jobID        = attribute.Key("sluice.job.id")
	jobType      = attribute.Key("sluice.job.type")
	attempt      = attribute.Key("sluice.attempt")
	outcome      = attribute.Key("sluice.outcome")
	upstreamName = attribute.Key("sluice.upstream")
)

// Tracer makes spans. Nobody has one while traces are off, and so nothing is paid for them.
type Tracer struct {
	tracer     trace.Tracer
	propagator propagation.TraceContext
}

// NewTracer makes spans of a provider.
func NewTracer(p trace.TracerProvider) *Tracer { return &Tracer{tracer: p.Tracer(scope)} }

// wanted are the variables of which one has to be set for traces to be made: by default OpenTelemetry would send them to this machine.
var wanted = []string{"OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"}

// Traces gives what OTEL_* asks for: nil where it asks for none. stop sends what was not sent yet. What OpenTelemetry has to
// say by itself, of an exporter that does not answer, say, goes to the log.
func Traces(ctx context.Context, service string, env map[string]string, log *slog.Logger) (t *Tracer, stop func(context.Context) error, err error) {
	stop = func(context.Context) error { return nil }
	set := func(name string) bool { return env[name] != "" }
	if !slices.ContainsFunc(wanted, set) || env["OTEL_TRACES_EXPORTER"] == "none" || strings.EqualFold(env["OTEL_SDK_DISABLED"], "true") {
		return nil, stop, nil
	}
	otel.SetLogger(logr.New(sdkLog{log}))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces are lost", "error", err) }))
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return nil, stop, err
	}
	// Later ones win: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES over the name that we give.
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(attribute.String("service.name", service)), resource.WithFromEnv())
	if err != nil {
		return nil, stop, err
	}
	p := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(about))
	return NewTracer(p), p.Shutdown, nil
}

// sdkLog has OpenTelemetry's own log in ours, without its values: what is wrong with a header or an address may be a secret.
type sdkLog struct{ *slog.Logger }

// mostVerbose is the level of its warnings; what is higher tells of its insides.
const mostVerbose = 1

func (sdkLog) Init(logr.RuntimeInfo)                  {}
func (sdkLog) Enabled(level int) bool                 { return level <= mostVerbose }
func (l sdkLog) Info(_ int, what string, _ ...any)    { l.Warn("OpenTelemetry warns", "of", what) }
func (l sdkLog) Error(_ error, what string, _ ...any) { l.Warn("OpenTelemetry failed", "at", what) }
func (l sdkLog) WithValues(...any) logr.LogSink       { return l }
func (l sdkLog) WithName(string) logr.LogSink         { return l }

// flushLimit bounds how long an exporter that does not answer keeps a process from ending.
const flushLimit = 5 * time.Second

// Flush sends the last traces when a process ends.
func Flush(stop func(context.Context) error, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), flushLimit)
	defer cancel()
	if err := stop(ctx); err != nil {
		log.Warn("the last traces could not be sent", "error", err)
	}
}

// Enqueue begins the span of a request that enqueues jobs, as a child of whatever the request's header names. traceparent is to be kept with each of them.
func (t *Tracer) Enqueue(ctx context.Context, header http.Header, jobs int) (traceparent string, end func(err error)) {
	ctx = t.propagator.Extract(ctx, propagation.HeaderCarrier(header))
	ctx, span := t.tracer.Start(ctx, enqueueSpan, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(batchSize.Int(jobs)))
	carrier := propagation.MapCarrier{}
	t.propagator.Inject(ctx, carrier)
	return carrier["traceparent"], func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, "") // its text may quote the request
		}
		span.End()
	}
}

// Call begins the span of an attempt's call. It is not a child of the enqueue's, which ended long ago, but links to it.
func (t *Tracer) Call(ctx context.Context, job queue.Claimed) (context.Context, func(end queue.End)) {
	ctx, span := t.tracer.Start(ctx, strings.TrimSpace(callSpan+modelOf(job)),
		trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(about(job)...),
		trace.WithLinks(trace.Link{SpanContext: t.origin(job.Traceparent)})) // none where that is not valid
	return ctx, func(end queue.End) {
		span.SetAttributes(became(end)...)
		if end.Outcome != queue.OK {
			span.SetStatus(codes.Error, string(end.Outcome))
		}
		span.End()
	}
}

func (t *Tracer) origin(traceparent string) trace.SpanContext {
	ctx := t.propagator.Extract(context.Background(), propagation.MapCarrier{"traceparent": traceparent})
	return trace.SpanContextFromContext(ctx)
}

// TraceID is the id of the context's trace, for the log; "" where there is none.
func TraceID(ctx context.Context) string {
	if s := trace.SpanContextFromContext(ctx); s.IsValid() {
		return s.TraceID().String()
	}
	return ""
}

func about(job queue.Claimed) []attribute.KeyValue {
	attributes := []attribute.KeyValue{
		operation.String("chat"), jobID.String(job.ID.String()), jobType.String(job.Type), attempt.Int64(job.Lease),
	}
	if job.Upstream == nil {
		return attributes
	}
	return append(attributes, provider.String("openai"), openAIType.String("responses"),
		requestModel.String(modelOf(job)), upstreamName.String(*job.Upstream))
}

func modelOf(job queue.Claimed) string {
	if job.Upstream == nil {
		return ""
	}
	_, model, _ := strings.Cut(*job.Upstream, ":")
	return model
}

// became is what an end tells that is nobody's secret.
func became(end queue.End) []attribute.KeyValue {
	attributes := []attribute.KeyValue{outcome.String(string(end.Outcome))}
	if end.Status != 0 {
		attributes = append(attributes, httpStatus.Int(end.Status))
	}
	if end.InputTokens != nil && end.OutputTokens != nil {
		attributes = append(attributes, inputTokens.Int64(*end.InputTokens), outputTokens.Int64(*end.OutputTokens))
	}
	if end.Outcome != queue.OK {
		return append(attributes, errorType.String(errorOf(end)))
	}
	var result struct {
		Response struct{ ID, Model, Status string }
	}
	if json.Unmarshal(end.Result, &result) == nil && result.Response.ID != "" { // a handler of one's own may keep anything
		r := result.Response
		attributes = append(attributes, responseID.String(r.ID), responseModel.String(r.Model), finishReasons.StringSlice([]string{r.Status}))
	}
	return attributes
}

// errorOf is the status where there is one, else what became of the attempt.
func errorOf(end queue.End) string {
	if end.Status >= http.StatusBadRequest {
		return strconv.Itoa(end.Status)
	}
	return string(end.Outcome)
}
