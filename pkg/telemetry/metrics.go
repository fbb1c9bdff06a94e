package telemetry

import (
	"net/http"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sluicedev/sluice/pkg/upstream"
)

// Metrics are those of one process.
type Metrics struct {
	registry    *prometheus.Registry
	transitions *prometheus.CounterVec
}

// newMetrics has what every process tells.
func newMetrics() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), transitions: counters("sluice_breaker_transitions_total",
		"Changes of a breaker's state. Each is counted by the one process that made it.", "upstream", "from", "to", "reason")}
	m.registry.MustRegister(m.transitions,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves /metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry, DisableCompression: true})
}

// BreakerChanged counts a change of a breaker: for upstream.Store.Telling.
func (m *Metrics) BreakerChanged(c upstream.Change) {
	m.transitions.WithLabelValues(c.Upstream, c.From, c.To, c.Reason).Inc()
}

// Pools has the connections of pools told, under their names.
func (m *Metrics) Pools(pools map[string]*pgxpool.Pool) {
	m.registry.MustRegister(poolCollector(pools))
}

var (
	poolConns   = describe("sluice_pool_connections", "Connections to Postgres, by what they do.", "pool", "state")
	poolMax     = describe("sluice_pool_connections_max", "Connections that the pool may hold.", "pool")
	poolWaits   = describe("sluice_pool_waits_total", "Times that somebody had to wait for a connection.", "pool")
	poolWaited  = describe("sluice_pool_wait_seconds_total", "How long they waited together.", "pool")
	poolAborted = describe("sluice_pool_aborted_waits_total", "Times that somebody gave up waiting.", "pool")
)

// poolCollector reads the pools' own counters.
type poolCollector map[string]*pgxpool.Pool

func (p poolCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{poolConns, poolMax, poolWaits, poolWaited, poolAborted} {
		ch <- d
	}
}

func (p poolCollector) Collect(ch chan<- prometheus.Metric) {
	out := sink{ch}
	for name, pool := range p {
		s := pool.Stat()
		out.gauge(poolConns, float64(s.AcquiredConns()), name, "busy")
		out.gauge(poolConns, float64(s.IdleConns()), name, "idle")
		out.gauge(poolConns, float64(s.ConstructingConns()), name, "opening")
		out.gauge(poolMax, float64(s.MaxConns()), name)
		out.counter(poolWaits, float64(s.EmptyAcquireCount()), name)
		out.counter(poolWaited, s.EmptyAcquireWaitTime().Seconds(), name)
		out.counter(poolAborted, float64(s.CanceledAcquireCount()), name)
	}
}

// sink takes what a collector reads.
type sink struct{ ch chan<- prometheus.Metric }

func (s sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s sink) counter(d *prometheus.Desc, v float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
}

// Buckets in seconds. A call of a reasoning model takes minutes, and a job may wait for days.
var (
	statementBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	requestBuckets   = []float64{.0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120}
	callBuckets      = []float64{.1, .25, .5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1200, 3600}
	waitBuckets      = []float64{.01, .05, .25, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 1200, 3600, 14400, 86400}
	countBuckets     = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500}
)
