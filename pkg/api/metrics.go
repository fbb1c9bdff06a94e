package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what /metrics tells. Names in it are public: dashboards and autoscalers read them.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	routes   map[string]bool // method and route
}

func newMetrics(s *Server) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_http_requests_total", Help: "Requests answered.",
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sluice_http_request_duration_seconds", Help: "Time to the end of the answer.",
		}, []string{"method", "route"}),
	}
	m.registry.MustRegister(m.requests, m.seconds, &fleetCollector{s},
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "sluice_event_streams", Help: "Event streams that are open at this process.",
		}, func() float64 { return float64(s.streams.inside.Load()) }),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry, DisableCompression: true})
}

// know tells which routes have counters of their own.
func (m *metrics) know(routes []*echo.Route) {
	m.routes = map[string]bool{}
	for _, r := range routes {
		m.routes[r.Method+" "+r.Path] = true
	}
}

// unmatched is the route of requests that no route took: their paths are without bound.
const unmatched = "none"

// count is the middleware that counts a request when it is answered.
func (m *metrics) count(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := time.Now()
		if err := next(c); err != nil {
			c.Error(err) // writes the problem, so that the status is known
		}
		method, route := c.Request().Method, c.Path()
		if !m.routes[method+" "+route] {
			method, route = unmatched, unmatched
		}
		m.requests.WithLabelValues(method, route, strconv.Itoa(c.Response().Status)).Inc()
		m.seconds.WithLabelValues(method, route).Observe(time.Since(start).Seconds())
		return nil
	}
}

var (
	databaseUp   = prometheus.NewDesc("sluice_database_up", "1 while the database answers.", nil, nil)
	queueDepth   = prometheus.NewDesc("sluice_queue_depth", "Jobs by state, of all tenants.", []string{"state"}, nil)
	oldestAge    = prometheus.NewDesc("sluice_queue_oldest_age_seconds", "How long the oldest queued job has waited.", nil, nil)
	backlog      = prometheus.NewDesc("sluice_runnable_backlog", "Queued jobs that could start now: what an autoscaler should follow.", nil, nil)
	breakerState = prometheus.NewDesc("sluice_breaker_state", "0 closed, 1 half-open, 2 open.", []string{"upstream"}, nil)
)

// fleetCollector tells what is in the database. Every instance of the API tells the same: take one, or the maximum.
type fleetCollector struct{ s *Server }

func (f *fleetCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{databaseUp, queueDepth, oldestAge, backlog, breakerState} {
		ch <- d
	}
}

func (f *fleetCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), f.s.limits.probe)
	defer cancel()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counts, err := f.s.counts.get(ctx, everybody)
	fleet, fleetErr := f.s.fleet.get(ctx, everybody)
	runnable, backlogErr := f.s.backlog.get(ctx, everybody)
	if err := errors.Join(err, fleetErr, backlogErr); err != nil {
		f.s.log.Warn("metrics go without the database", "error", err)
		gauge(databaseUp, 0)
		return
	}
	gauge(databaseUp, 1)
	for state, n := range map[State]int64{
		StateQueued: counts.Queued, StateRunning: counts.Running, StateDelayed: counts.Delayed,
		StateFailed: counts.Failed, StateDone: counts.Done, StateCancelled: counts.Cancelled,
	} {
		gauge(queueDepth, float64(n), string(state))
	}
	gauge(oldestAge, counts.OldestQueued.Seconds())
	gauge(backlog, float64(runnable))
	for _, up := range fleet.upstreams {
		gauge(breakerState, float64(openness(up.State)), up.Name)
	}
}
