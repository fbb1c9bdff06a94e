package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sluicedev/sluice/pkg/llm/llmtest"
)

// parkedConfig has a second upstream, whose jobs go before all others.
const parkedConfig = `
upstreams:
  second: {kind: openai, base_url: "%s", api_key_env: SECOND_API_KEY}
types:
  other: {upstream: second, model: gpt-5-mini, priority: 1}
`

const parkedLine = "second:gpt-5-mini"

// The head of the queue is 20,000 jobs of an upstream that takes none. The jobs behind them are done as if they were
// alone, and those that wait have only waited.
func TestAnUpstreamThatTakesNoCallsKeepsNobodyElseWaiting(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		script llmtest.Script
		parked string // what tells that the fleet knows
		done   int    // of the waiting jobs
	}{
		{"down", llmtest.Script{Mode: "503"}, `state <> 'closed'`, 0},
		{"out of credit", llmtest.Script{Mode: "out_of_credit"}, `state <> 'closed'`, 0},
		{"spent", llmtest.Script{RPM: 1, WindowMS: 3_600_000}, `requests_remaining < 1`, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			second := llmtest.Start(t, llmtest.WithScript(c.script))
			config := filepath.Join(t.TempDir(), "sluice.yaml")
			if err := os.WriteFile(config, fmt.Appendf(nil, parkedConfig, second.BaseURL()), 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				s.worker("SLUICE_CONFIG="+config, "SECOND_API_KEY=sk-test", "SLUICE_CONCURRENCY=20")
			}
			s.until("the workers wrote their types", func() bool { return s.count(`select count(*) from workers`) == 2 })

			const waiting, behind = 20_000, 300
			s.enqueueSQL("other", waiting)
			s.until("the fleet knows that it takes no calls", func() bool {
				return s.count(`select count(*) from upstreams where name = $1 and `+c.parked, parkedLine) == 1
			})
			s.enqueueSQL("diary.entry", behind)
			s.until("the jobs behind are done", func() bool {
				return s.count(`select count(*) from jobs where type = 'diary.entry' and state = 'done'`) == behind
			})

			if n := s.count(`select count(*) from attempts where upstream <> $1`, parkedLine); n != behind {
				t.Errorf("%d tries at %d jobs whose provider is well", n, behind)
			}
			s.hasOnlyWaited(waiting, c.done)
			if calls := second.Count(); c.done > 0 && calls != c.done {
				t.Errorf("%d calls on a limit of %d", calls, c.done)
			}
		})
	}
}

// enqueueSQL enqueues n jobs at once.
func (s *system) enqueueSQL(jobType string, n int) {
	s.t.Helper()
	if got := s.count(`select count(enqueue_job($1, '{"input": "hello"}')) from generate_series(1, $2::integer)`, jobType, n); got != n {
		s.t.Fatalf("%d jobs of %s enqueued, want %d", got, jobType, n)
	}
}

// hasOnlyWaited checks that the waiting jobs are all there, and that nothing was held against them but what opened the
// breaker.
func (s *system) hasOnlyWaited(waiting, done int) {
	s.t.Helper()
	for _, c := range []struct {
		what, sql string
		want      int
	}{
		{"waiting jobs are waiting", `select count(*) from jobs where type = 'other' and state in ('queued', 'delayed', 'running')`, waiting - done},
		{"waiting jobs are done", `select count(*) from jobs where type = 'other' and state = 'done'`, done},
		{"waiting jobs stand in the line, fall due later or run", `
			select (select count(*) from ready where line = '` + parkedLine + `') + (select count(*) from delayed where line = '` + parkedLine + `')
			     + (select count(*) from jobs where type = 'other' and state = 'running')`, waiting - done},
		{"waiting jobs were charged more than their failed tries", `
			select count(*) from jobs j where type = 'other' and attempts <> (select count(*) from attempts a where a.job_id = j.id and a.charged)`, 0},
		{"tries were charged a second after the breaker had opened", `
			select count(*) from attempts a where upstream = '` + parkedLine + `' and charged and outcome <> 'ok' and started_at >
			    (select min(at) + interval '1 second' from breaker_events e where e.upstream = a.upstream and e.to_state = 'open')`, 0},
		{"tries were lost, rejected or interrupted", `
			select count(*) from attempts where upstream = '` + parkedLine + `' and outcome in ('lost', 'rejected', 'interrupted', 'cancelled')`, 0},
		{"tries were charged for what says nothing of the job", `
			select count(*) from attempts where upstream = '` + parkedLine + `' and charged and outcome in ('held', 'rate_limited')`, 0},
	} {
		if n := s.count(c.sql); n != c.want {
			s.t.Errorf("%d %s, want %d", n, c.what, c.want)
		}
	}
}
