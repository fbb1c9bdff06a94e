package check

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// Half an hour of what Prometheus scrapes, once a minute, and the alerts that have to fire in it: those, and no others.
var halfHours = []struct{ name, scraped, fire string }{
	{"all is well", "", ""},
	{"the provider is down, and each probe of it takes minutes to fail", `
		sluice_breaker_state{upstream="u"} 0 2 1 1 1 2 1 1 1 2 1 1 1 2 1 1 1 2 1 1 1 2 1 1 1 2 1 1 1 2
		sluice_breaker_open{upstream="u",reason="failures"} _ 1x30`, "SluiceBreakerOpen"},
	{"the account is empty, for the first time since the processes started", `
		sluice_breaker_state{upstream="u"} 0 2x30
		sluice_breaker_open{upstream="u",reason="account"} _ 1x30
		sluice_breaker_transitions_total{upstream="u",from="closed",to="open",reason="account"} _ 1x30`, "SluiceUpstreamHeld"},
	{"an operator pauses it", `
		sluice_breaker_state{upstream="u"} 0 2x30
		sluice_breaker_open{upstream="u",reason="operator"} _ 1x30`, ""},
	{"a short outage", `
		sluice_breaker_state{upstream="u"} 0 2 1 0x30
		sluice_breaker_open{upstream="u",reason="failures"} _ 1 1 stale`, ""},
	{"nobody takes what could start", `
		sluice_runnable_backlog 40x30
		sluice_queue_oldest_age_seconds 0+60x30`, "SluiceBacklogGrowsOld"},
	{"what is old waits for a limit", `
		sluice_queue_oldest_age_seconds 0+60x30`, ""},
	{"the workers are gone", `
		sluice_runnable_backlog 40x30
		sluice_worker_slots{instance="w"} 100 100 stale`, "SluiceNoWorker"},
	{"no worker, and no work", `
		sluice_worker_slots{instance="w"} 100 stale`, ""},
	{"Postgres is away", `
		sluice_database_up 1 0x30`, "SluiceDatabaseDown"},
	{"Postgres is away for one of two APIs", `
		sluice_database_up{instance="a"} 1 0x30
		sluice_database_up{instance="b"} 1x30`, ""},
	{"no API is there", `
		sluice_database_up 1 stale`, "SluiceNoAPI"},
	{"a third of the calls fail", `
		sluice_attempts_total{upstream="u",outcome="ok"} 0+20x30
		sluice_attempts_total{upstream="u",outcome="error"} 0+10x30`, "SluiceErrors"},
	{"a tenth of the calls meets a 429", `
		sluice_attempts_total{upstream="u",outcome="ok"} 0+18x30
		sluice_attempts_total{upstream="u",outcome="rate_limited"} 0+2x30`, "SluiceRateLimited"},
	{"jobs were stranded", `
		sluice_stranded_jobs_total{instance="w"} 0 0 2x30`, "SluiceJobsStranded"},
	{"workers die", `
		sluice_swept_total{sweep="buried"} 0 1 2 4x30`, "SluiceWorkersDie"},
	{"a tenth of the requests fails", `
		sluice_http_requests_total{status="202"} 0+90x30
		sluice_http_requests_total{status="503"} 0+10x30`, "SluiceAPIErrors"},
	{"requests give up on the pool", `
		sluice_pool_aborted_waits_total{pool="main"} 0+5x30`, "SluicePoolExhausted"},
}

// quiet is what is scraped where nothing else is said.
const quiet = `
	sluice_database_up 1x30
	sluice_runnable_backlog 0x30
	sluice_queue_oldest_age_seconds 0x30
	sluice_worker_slots{instance="w"} 100x30
	sluice_breaker_state{upstream="u"} 0x30`

func TestAlertsFireWhenTheyShould(t *testing.T) {
	t.Parallel()
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute})
	rules, ever := alerts(t), map[string]bool{}
	for _, h := range halfHours {
		t.Run(h.name, func(t *testing.T) {
			series, fired := scraped(t, h.scraped), []string{}
			for _, r := range rules {
				q, err := engine.NewRangeQuery(t.Context(), series, nil, r.Expr, time.Unix(0, 0), time.Unix(1800, 0), time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				if held(t, q, time.Duration(r.For)) {
					fired, ever[r.Alert] = append(fired, r.Alert), true
				}
			}
			if got := strings.Join(fired, " "); got != h.fire {
				t.Errorf("%q fire; want %q", got, h.fire)
			}
		})
	}
	for _, r := range rules {
		if !ever[r.Alert] {
			t.Errorf("nothing here makes %s fire", r.Alert)
		}
	}
}

// scraped are the series of a text, and the quiet ones of metrics that it does not tell.
func scraped(t *testing.T, text string) storage.Queryable {
	t.Helper()
	var all []promql.Series
	for _, line := range strings.Split(text+quiet, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, values, err := parser.NewParser(parser.Options{}).ParseSeriesDesc(line)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(quiet, line) && strings.Contains(text, name.Get(model.MetricNameLabel)) {
			continue
		}
		one := promql.Series{Metric: name}
		for minute, v := range values {
			if !v.Omitted {
				one.Floats = append(one.Floats, promql.FPoint{T: int64(minute) * time.Minute.Milliseconds(), F: v.Value})
			}
		}
		all = append(all, one)
	}
	return &storage.MockQueryable{MockQuerier: &storage.MockQuerier{
		SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
			return &some{left: slices.DeleteFunc(slices.Clone(all), func(s promql.Series) bool { return !matches(s.Metric, matchers) })}
		},
	}}
}

func matches(l labels.Labels, matchers []*labels.Matcher) bool {
	return !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(l.Get(m.Name)) })
}

// some are the series of one answer.
type some struct{ now, left []promql.Series }

func (s *some) Next() bool {
	if len(s.left) == 0 {
		return false
	}
	s.now, s.left = s.left[:1], s.left[1:]
	return true
}
func (s *some) At() storage.Series              { return promql.NewStorageSeries(s.now[0]) }
func (*some) Err() error                        { return nil }
func (*some) Warnings() annotations.Annotations { return nil }

// held tells whether one series of a query's answer was there for so long without a gap.
func held(t *testing.T, q promql.Query, long time.Duration) bool {
	t.Helper()
	defer q.Close()
	answer, err := q.Exec(context.Background()).Matrix()
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(answer, func(s promql.Series) bool {
		run := time.Duration(0)
		for i := range s.Floats {
			if i > 0 && s.Floats[i].T-s.Floats[i-1].T > time.Minute.Milliseconds() {
				run = 0
			} else if i > 0 {
				run += time.Minute
			}
			if run >= long {
				return true
			}
		}
		return false
	})
}
