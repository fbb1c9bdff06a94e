package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/upstream"
)

// API are the metrics of an API process.
type API struct {
	*Metrics
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// NewAPI gives the metrics of an API process.
func NewAPI() *API {
	m := &API{
		Metrics:  newMetrics(),
		requests: counters("sluice_http_requests_total", "Requests answered.", "method", "route", "status"),
		seconds:  histograms("sluice_http_request_duration_seconds", "Time to the end of the answer.", requestBuckets, "method", "route"),
	}
	m.registry.MustRegister(m.requests, m.seconds)
	return m
}

// Answered counts a request. The route is one of the API's own, or stands for all others.
func (m *API) Answered(method, route string, status int, took time.Duration) {
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(method, route).Observe(took.Seconds())
}

// Streams has the open event streams of this process told.
func (m *API) Streams(open func() int64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sluice_event_streams", Help: "Event streams that are open at this process.",
	}, func() float64 { return float64(open()) }))
}

// Fleet is how the queue and the upstreams are read when Prometheus asks. Whoever gives these keeps what was read for a
// moment, so that many who ask cost Postgres no more than one.
type Fleet struct {
	Counts    func(context.Context) (queue.Counts, error)
	Upstreams func(context.Context) ([]upstream.Status, error)
	Backlog   func(context.Context) (int64, error)
	Limit     time.Duration // for all three
	Log       *slog.Logger
}

// Fleet has what is in the database told. Every instance of the API tells the same: take one, or the maximum.
func (m *API) Fleet(f Fleet) { m.registry.MustRegister(fleetCollector{f}) }

var (
	databaseUp     = describe("sluice_database_up", "1 while the database answers.")
	queueDepth     = describe("sluice_queue_depth", "Jobs by state, of all tenants.", "state")
	oldestAge      = describe("sluice_queue_oldest_age_seconds", "How long the oldest queued job has waited.")
	backlog        = describe("sluice_runnable_backlog", "Queued jobs that could start now: what an autoscaler should follow.")
	breakerState   = describe("sluice_breaker_state", "0 closed, 1 half-open, 2 open.", "upstream")
	breakerOpen    = describe("sluice_breaker_open", "1 while the breaker is not closed, with the reason.", "upstream", "reason")
	quotaLimit     = describe("sluice_quota_limit", "What the provider allows in its window, as learned from it.", "upstream", "dimension")
	quotaRemaining = describe("sluice_quota_remaining", "What the fleet believes to be left of it now.", "upstream", "dimension")
	quotaReserve   = describe("sluice_quota_reserve", "What is left alone of it for surprises, as learned.", "upstream", "dimension")
)

type fleetCollector struct{ Fleet }

func (f fleetCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{databaseUp, queueDepth, oldestAge, backlog, breakerState, breakerOpen, quotaLimit, quotaRemaining, quotaReserve} {
		ch <- d
	}
}

func (f fleetCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), f.Limit)
	defer cancel()
	out := sink{ch}
	counts, err := f.Counts(ctx)
	upstreams, upstreamsErr := f.Upstreams(ctx)
	runnable, backlogErr := f.Backlog(ctx)
	if err := errors.Join(err, upstreamsErr, backlogErr); err != nil {
		f.Log.Warn("metrics go without the database", "error", err)
		out.gauge(databaseUp, 0)
		return
	}
	out.gauge(databaseUp, 1)
	out.depth(counts)
	out.gauge(backlog, float64(runnable))
	for _, up := range upstreams {
		out.upstream(up)
	}
}

func (s sink) depth(c queue.Counts) {
	for state, n := range map[queue.State]int64{
		queue.Queued: c.Queued, queue.Running: c.Running, queue.Delayed: c.Delayed,
		queue.Failed: c.Failed, queue.Done: c.Done, queue.Cancelled: c.Cancelled,
	} {
		s.gauge(queueDepth, float64(n), string(state))
	}
	s.gauge(oldestAge, c.OldestQueued.Seconds())
}

func (s sink) upstream(up upstream.Status) {
	s.gauge(breakerState, openness[up.State], up.Name)
	if up.Reason != "" {
		s.gauge(breakerOpen, 1, up.Name, up.Reason)
	}
	for name, d := range map[string]upstream.Dimension{"requests": up.Requests, "tokens": up.Tokens} {
		if d.Limit != nil && d.Remaining != nil {
			s.gauge(quotaLimit, float64(*d.Limit), up.Name, name)
			s.gauge(quotaRemaining, float64(*d.Remaining), up.Name, name)
			s.gauge(quotaReserve, float64(d.Reserve), up.Name, name)
		}
	}
}

// openness is how far a breaker is from closed.
var openness = map[string]float64{"half-open": 1, "open": 2}
