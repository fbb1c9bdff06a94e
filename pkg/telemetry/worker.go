package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/worker"
)

// Worker are the metrics of a worker process.
type Worker struct {
	*Metrics
	attempts   *prometheus.CounterVec
	charged    *prometheus.CounterVec
	took       *prometheus.HistogramVec
	waited     *prometheus.HistogramVec
	tokens     *prometheus.CounterVec
	retryAfter *prometheus.HistogramVec

	claimed, claimTook prometheus.Histogram
	emptyClaims        prometheus.Counter
	recorded, late     prometheus.Counter
	recordTook         prometheus.Histogram
	swept              *prometheus.CounterVec
	stranded           prometheus.Counter
	webhooks           *prometheus.HistogramVec
}

// NewWorker gives the metrics of a worker process.
func NewWorker() *Worker {
	m := &Worker{
		Metrics:    newMetrics(),
		attempts:   counters("sluice_attempts_total", "Attempts that ended, by their outcome.", "upstream", "type", "outcome"),
		charged:    counters("sluice_attempts_charged_total", "Of them, those that count against max_attempts.", "upstream", "type"),
		took:       histograms("sluice_attempt_duration_seconds", "Calls, from their start to the end of the answer.", callBuckets, "upstream", "type"),
		waited:     histograms("sluice_job_wait_seconds", "From when a job could have started to its claim.", waitBuckets, "upstream", "type"),
		tokens:     counters("sluice_tokens_total", "Tokens that providers counted.", "upstream", "type", "direction"),
		retryAfter: histograms("sluice_retry_after_seconds", "Waits that providers asked for.", waitBuckets, "upstream"),

		claimed:     histogram("sluice_claim_jobs", "Jobs that a claim brought, of those that brought any.", countBuckets),
		claimTook:   histogram("sluice_claim_duration_seconds", "Time of a claim's statement.", statementBuckets),
		emptyClaims: counter("sluice_claims_empty_total", "Claims that brought nothing."),
		recorded:    counter("sluice_ends_total", "Ends of attempts that were written."),
		late:        counter("sluice_ends_late_total", "Of them, those that came too late to count: the job was cancelled, or another worker's by then."),
		recordTook:  histogram("sluice_end_duration_seconds", "Time of a statement that wrote ends.", statementBuckets),
		swept:       counters("sluice_swept_total", "What the upkeep found: dead workers, jobs rescued from them, jobs that fell due or expired.", "sweep"),
		stranded:    counter("sluice_stranded_jobs_total", "Jobs that were in no line, and were put back. Must be 0."),
		webhooks:    histograms("sluice_webhook_duration_seconds", "Tries of webhooks, by what came of them: delivered, refused by an answer, or failed without one.", requestBuckets, "result"),
	}
	m.registry.MustRegister(m.attempts, m.charged, m.took, m.waited, m.tokens, m.retryAfter,
		m.claimed, m.claimTook, m.emptyClaims, m.recorded, m.late, m.recordTook, m.swept, m.stranded, m.webhooks)
	for _, s := range []worker.Sweep{worker.Buried, worker.Rescued, worker.Promoted, worker.Expired} {
		m.swept.WithLabelValues(string(s)) // so that the first one is seen as an increase
	}
	return m
}

// Hooks are for the worker's configuration.
func (m *Worker) Hooks() worker.Hooks {
	return worker.Hooks{Attempts: m.ofLine, Claimed: m.claim, Recorded: m.record, Swept: m.sweep}
}

// Delivered counts a try of a webhook. Status 0: there was no answer.
func (m *Worker) Delivered(status int, _ error, took time.Duration) {
	result := "refused"
	switch {
	case status == 0:
		result = "failed"
	case status/100 == 2:
		result = "delivered"
	}
	m.webhooks.WithLabelValues(result).Observe(took.Seconds())
}

var outcomes = []queue.Outcome{queue.OK, queue.RateLimited, queue.Rejected, queue.Held, queue.Error, queue.Interrupted, queue.WasCancelled}

// ofLine finds the counters of one type in one line, once.
func (m *Worker) ofLine(line, jobType string) func(end queue.End, waited, took time.Duration) {
	byOutcome := map[queue.Outcome]prometheus.Counter{}
	for _, o := range outcomes {
		byOutcome[o] = m.attempts.WithLabelValues(line, jobType, string(o))
	}
	charged := m.charged.WithLabelValues(line, jobType)
	tookOf, waitedOf := m.took.WithLabelValues(line, jobType), m.waited.WithLabelValues(line, jobType)
	input, output := m.tokens.WithLabelValues(line, jobType, "input"), m.tokens.WithLabelValues(line, jobType, "output")
	retryAfter := m.retryAfter.WithLabelValues(line)
	return func(end queue.End, waited, took time.Duration) {
		byOutcome[end.Outcome].Inc()
		waitedOf.Observe(max(0, waited.Seconds()))
		if end.Charged {
			charged.Inc()
		}
		if took > 0 {
			tookOf.Observe(took.Seconds())
		}
		if end.InputTokens != nil && end.OutputTokens != nil {
			input.Add(float64(max(0, *end.InputTokens)))
			output.Add(float64(max(0, *end.OutputTokens)))
		}
		if end.RetryAfter > 0 {
			retryAfter.Observe(end.RetryAfter.Seconds())
		}
	}
}

func (m *Worker) claim(jobs int, took time.Duration) {
	m.claimTook.Observe(took.Seconds())
	if jobs == 0 {
		m.emptyClaims.Inc()
		return
	}
	m.claimed.Observe(float64(jobs))
}

func (m *Worker) record(ends, late int, took time.Duration) {
	m.recordTook.Observe(took.Seconds())
	m.recorded.Add(float64(ends))
	m.late.Add(float64(late))
}

func (m *Worker) sweep(s worker.Sweep, found int) {
	if s == worker.Stranded {
		m.stranded.Add(float64(found))
		return
	}
	m.swept.WithLabelValues(string(s)).Add(float64(found))
}

// Load has what the worker holds read when Prometheus asks: its own memory, and never the database.
func (m *Worker) Load(load func() worker.Load) { m.registry.MustRegister(loadCollector{load}) }

var (
	slots         = describe("sluice_worker_slots", "Calls that the worker may have in flight.")
	slotsInUse    = describe("sluice_worker_slots_in_use", "Slots that are taken, by upstream, or type where that is not paced.", "upstream")
	permits       = describe("sluice_permits", "Permits that were bought and not spent yet.", "upstream")
	breakerBelief = describe("sluice_worker_breaker_state", "The worker's copy of the breaker: 0 closed, 1 half-open, 2 open.", "upstream")
)

type loadCollector struct{ load func() worker.Load }

func (l loadCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{slots, slotsInUse, permits, breakerBelief} {
		ch <- d
	}
}

func (l loadCollector) Collect(ch chan<- prometheus.Metric) {
	out, load := sink{ch}, l.load()
	out.gauge(slots, float64(load.Slots))
	for _, line := range load.Lines {
		out.gauge(slotsInUse, float64(line.Running), line.Name)
		if line.Paced {
			out.gauge(permits, float64(line.Permits), line.Name)
		}
		if line.Status != nil {
			out.gauge(breakerBelief, openness[line.Status.State], line.Name)
		}
	}
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
}
