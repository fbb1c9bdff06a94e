package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/breaker"
	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/llm"
	"github.com/sluicedev/sluice/pkg/llm/llmtest"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/upstream"
	"github.com/sluicedev/sluice/pkg/worker"
)

const hello = `{"input":"hello"}`

func TestAJobIsDoneWithResultUsageAndRequestID(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)}, llmtest.KeepBodies())
	f.start(nil, nil)
	id := f.enqueue("ask", `{"input":"hello","request":{"temperature":1e0},"userId":7}`, 1)[0]
	job := f.untilState(id, queue.Done)

	var result struct {
		OutputText string    `json:"output_text"`
		Usage      llm.Usage `json:"usage"`
		Response   struct{ Status string }
	}
	if err := json.Unmarshal(job.Result, &result); err != nil {
		t.Fatal(err)
	}
	if result.OutputText == "" || result.Usage.OutputTokens == 0 || result.Response.Status != "completed" {
		t.Errorf("result: %s", job.Result)
	}
	a := f.attempts(id)
	if len(a) != 1 || *a[0].Outcome != queue.OK || !a[0].Charged || a[0].RequestID == nil || *a[0].Status != 200 || *a[0].InputTokens == 0 {
		t.Errorf("attempts: %+v", a)
	}
	if job.Attempts != 1 || job.Lease != 1 || job.LastError != nil {
		t.Errorf("job: %+v", job)
	}
	call := f.sim.Calls()[0]
	if call.ID != fmt.Sprintf("%s/1", id) {
		t.Errorf("X-Client-Request-Id: %q", call.ID)
	}
	if body := string(call.Body); !strings.Contains(body, `"temperature":1e0`) || strings.Contains(body, "userId") {
		t.Errorf("sent: %s", body)
	}
}

// What an answer does to the job, its attempts and the breaker: the contract's table, answer by answer. The first answer
// meets a cold upstream, so a call that succeeds goes before.
func TestWhatAnAnswerDoes(t *testing.T) {
	t.Parallel()
	cases := []struct {
		mode     string // of the first call; the second is healthy
		outcomes string
		state    queue.State
		breaker  string
	}{
		{"incomplete", "ok!", queue.Done, "closed"},
		{"rate_limited", "rate_limited ok!", queue.Done, "closed"},
		{"slow_down", "rate_limited ok!", queue.Done, "closed"}, // Retry-After: 5 s
		{"out_of_credit", "held ok!", queue.Done, "opened"},
		{"out_of_credit_type", "held ok!", queue.Done, "opened"},
		{"out_of_credit_code", "held ok!", queue.Done, "opened"},
		{"payment_required", "held ok!", queue.Done, "opened"},
		{"bad_key", "held", queue.Delayed, "closed"}, // one job alone proves nothing
		{"model_not_found", "held", queue.Delayed, "closed"},
		{"bad_request", "rejected!", queue.Failed, "closed"},
		{"error", "error! ok!", queue.Done, "closed"},
		{"down", "error! ok!", queue.Done, "closed"},
		{"reset", "error! ok!", queue.Done, "closed"},
		{"cut", "error! ok!", queue.Done, "closed"},
		{"html", "error! ok!", queue.Done, "closed"},
		{"truncated", "error! ok!", queue.Done, "closed"},
		{"failed", "error! ok!", queue.Done, "closed"},
		{"error_event", "error! ok!", queue.Done, "closed"},
	}
	for _, c := range cases {
		t.Run(c.mode, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)}, llmtest.Decide(func(call llmtest.Call) string {
				if call.Number == 2 {
					return c.mode
				}
				return "healthy"
			}))
			f.start(nil, nil)
			f.untilState(f.enqueue("ask", hello, 1)[0], queue.Done)
			id := f.enqueue("ask", hello, 1)[0]
			f.until("outcomes "+c.outcomes, func() bool { return strings.Join(outcomes(f.attempts(id)), " ") == c.outcomes })
			job := f.untilState(id, c.state)
			if charged := strings.Count(c.outcomes, "!"); job.Attempts != charged {
				t.Errorf("attempts = %d, want %d", job.Attempts, charged)
			}
			if tries := f.attempts(id); c.mode == "slow_down" && tries[1].StartedAt.Sub(*tries[0].FinishedAt) < 5*time.Second {
				t.Errorf("it was told to wait for 5 s, and tried again after %s", tries[1].StartedAt.Sub(*tries[0].FinishedAt))
			}
			opened := f.count(`select count(*) from breaker_events where to_state = 'open'`)
			if (opened > 0) != (c.breaker == "opened") {
				t.Errorf("the breaker opened %d times, want %s", opened, c.breaker)
			}
			if c.state == queue.Failed && !strings.Contains(*job.LastError, "400") {
				t.Errorf("last_error: %s", *job.LastError)
			}
		})
	}
}

func TestABadJobFailsInTheProvidersWordsAndTheBreakerStaysClosed(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)})
	f.start(nil, nil)
	ids := f.enqueue("ask", `{"input":"hello","request":{"temperature":"hot"}}`, 30)
	f.untilEnded(ids)
	for _, id := range ids {
		job := f.job(id)
		if job.State != queue.Failed || job.Attempts != 1 || !strings.Contains(*job.LastError, "temperature") {
			t.Fatalf("%s after %d tries: %v", job.State, job.Attempts, *job.LastError)
		}
	}
	if n := f.count(`select count(*) from breaker_events`); n != 0 {
		t.Errorf("%d breaker events", n)
	}
}

func TestChargedTriesAreUsedUp(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 3)}, llmtest.Decide(func(call llmtest.Call) string {
		if call.Number > 1 {
			return "error"
		}
		return "healthy"
	}))
	f.start(nil, nil)
	f.untilState(f.enqueue("ask", hello, 1)[0], queue.Done)
	id := f.enqueue("ask", hello, 1)[0]
	job := f.untilState(id, queue.Failed)
	if got := outcomes(f.attempts(id)); !slices.Equal(got, []string{"error!", "error!", "error!"}) || job.Attempts != 3 {
		t.Errorf("attempts %v, charged %d", got, job.Attempts)
	}
}

// An outage: the breaker opens, one probe at a time looks, no attempt is burned, other upstreams go on, all recovers. What
// is charged are the failures before it opens, which may all be one job's: a few of each worker, as its successes of before
// end the fleet's run once.
func TestAnOutage(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	const workers, most = 2, 2 * 4 // charged failures
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", most+1), fast("other", "openai", "gpt-4", 2)},
		llmtest.Decide(func(c llmtest.Call) string {
			if down.Load() && c.Model == "gpt-5" {
				return "down"
			}
			return "healthy"
		}))
	for range workers {
		f.start(nil, nil)
	}
	f.untilEnded(f.enqueue("ask", hello, 20))
	down.Store(true)
	ids := f.enqueue("ask", hello, 50)
	f.until("the breaker is open", func() bool { return f.upstream("openai:gpt-5").State != "closed" })
	f.untilEnded(f.enqueue("other", hello, 20))
	f.until("three probes failed", func() bool {
		return f.count(`select count(*) from breaker_events where from_state = 'half-open' and to_state = 'open'`) >= 3
	})
	const opened = `(select min(at) from breaker_events where to_state = 'open')`
	probed := f.count(`select count(distinct job_id) from attempts where outcome = 'error' and started_at > ` + opened)
	down.Store(false)
	f.untilEnded(ids)
	if n := f.count(`select count(*) from jobs where state <> 'done'`); n != 0 {
		t.Errorf("%d jobs are not done", n)
	}
	if n := f.count(`select count(*) from attempts where outcome = 'error' and charged`); n > most {
		t.Errorf("%d failures were charged: more than come before the breaker opens", n)
	}
	if n := f.count(`select count(*) from attempts where outcome = 'error' and charged and started_at > ` + opened); n != 0 {
		t.Errorf("%d probes were charged", n)
	}
	if probed < 2 {
		t.Errorf("the probes were made with %d jobs: one bad job could keep the upstream shut", probed)
	}
	if s := f.upstream("openai:gpt-5"); s.State != "closed" {
		t.Errorf("the breaker is %s", s.State)
	}
}

// While a breaker is open all calls are probes. They go through the jobs in turn, so that no bad one keeps the upstream shut, and cost none
// of them a try, though each may have but two.
func TestProbesTakeTurnsAndCostNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 2)})
	f.start(nil, nil)
	f.untilEnded(f.enqueue("ask", hello, 1))
	f.sim.SetMode("down")
	trip := breaker.Report{Generation: f.upstream("openai:gpt-5").Generation, Failed: 5, Trailing: 5, Jobs: []uuid.UUID{uuid.New(), uuid.New(), uuid.New()}}
	if s, _, err := f.upstreams.Visit(t.Context(), "openai:gpt-5", "w", upstream.Visit{Report: trip}); err != nil || s.State != "open" {
		t.Fatalf("%+v, %v", s, err)
	}
	ids := f.enqueue("ask", hello, 3)
	f.until("six probes failed", func() bool { return f.count(`select count(*) from attempts where outcome = 'error'`) >= 6 })
	for _, id := range ids {
		if n := f.count(`select count(*) from attempts where job_id = $1 and outcome = 'error'`, id); n < 2 {
			t.Errorf("%d of six or more probes were made with a job, of three", n)
		}
	}
	f.sim.SetMode("healthy")
	f.untilEnded(ids)
	if n := f.count(`select count(*) from jobs where state = 'done' and attempts = 1`); n != 4 {
		t.Errorf("%d of 4 jobs are done with one charged try", n)
	}
}

// The account stops before anybody was heard: one call finds out, probes find out when it is over, nothing fails.
func TestOutOfCredit(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 2)}, llmtest.WithScript(llmtest.Script{Mode: "out_of_credit"}))
	for range 4 {
		f.start(nil, nil)
	}
	ids := f.enqueue("ask", hello, 100)
	f.until("three probes", func() bool { return f.sim.Count() >= 3 })
	s := f.upstream("openai:gpt-5")
	if s.Reason != "account" {
		t.Errorf("reason %q", s.Reason)
	}
	if held := f.count(`select count(*) from attempts where outcome = 'held'`); held > int64(f.sim.Count()) {
		t.Errorf("%d held attempts for %d calls", held, f.sim.Count())
	}
	calls, opened := f.sim.Count(), f.count(`select count(*) from breaker_events where to_state = 'open'`)
	if int64(calls) > opened+1 {
		t.Errorf("%d calls while the breaker opened %d times: more than the probes", calls, opened)
	}
	f.sim.SetMode("healthy")
	f.untilEnded(ids)
	if n := f.count(`select count(*) from jobs where state = 'done' and attempts = 1`); n != 100 {
		t.Errorf("%d jobs done with one charged try, want 100", n)
	}
}

// A wrong key: two different jobs confirm it, the breaker opens, nothing fails; when the key is right again, all is done.
func TestAWrongKey(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 2)}, llmtest.WithScript(llmtest.Script{Mode: "bad_key"}))
	f.start(nil, nil)
	ids := f.enqueue("ask", hello, 5)
	f.until("the breaker is open", func() bool { return f.upstream("openai:gpt-5").Reason == "credentials" })
	f.sim.SetMode("healthy")
	f.untilState(ids[4], queue.Done)
	if n := f.count(`select count(*) from jobs where state = 'failed' or attempts > 1`); n != 0 {
		t.Errorf("%d jobs failed or were charged", n)
	}
	if text := f.count(`select count(*) from attempts where error like '%wxyz%'`); text != 0 {
		t.Error("a part of the key was stored")
	}
}

func TestACancelAbortsTheCallAndKeepsItsFence(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)})
	f.sim.Hold()
	f.start(nil, nil)
	id := f.enqueue("ask", hello, 1)[0]
	if err := f.sim.AwaitHeld(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	job, err := f.queue.Cancel(t.Context(), queue.DefaultTenant, id)
	if err != nil || job.State != queue.Cancelled || job.Lease != 2 {
		t.Fatalf("%+v, %v", job, err)
	}
	if err := f.sim.AwaitIdle(t.Context()); err != nil { // the provider sees the call aborted
		t.Fatal(err)
	}
	f.until("the attempt is cancelled", func() bool { return slices.Equal(outcomes(f.attempts(id)), []string{"cancelled"}) })
	if job := f.job(id); job.State != queue.Cancelled || job.Attempts != 0 {
		t.Errorf("%s, %d charged", job.State, job.Attempts)
	}
	if s := f.upstream("openai:gpt-5"); s.Failures != 0 {
		t.Errorf("%d failures of the upstream, which did nothing wrong", s.Failures)
	}
	f.sim.Release() // the cold start's permit must have been given back: the next job runs
	f.untilState(f.enqueue("ask", hello, 1)[0], queue.Done)
}

func TestAStopLetsCallsEnd(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)})
	stop := f.start(nil, nil)
	f.untilState(f.enqueue("ask", hello, 1)[0], queue.Done)
	f.sim.Hold()
	ids := f.enqueue("ask", hello, 3)
	if err := f.sim.AwaitHeld(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	f.sim.Release()
	<-stopped
	for _, id := range ids {
		if job := f.job(id); job.State != queue.Done {
			t.Errorf("%s", job.State)
		}
	}
	if n := f.count(`select (select count(*) from workers) + (select count(*) from claims)`); n != 0 {
		t.Errorf("%d rows of a worker that is gone", n)
	}
}

func TestAStopGivesTheRestBackUncharged(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)})
	stop := f.start(func(c *worker.Config) { c.DrainLimit = 0 }, nil)
	f.untilState(f.enqueue("ask", hello, 1)[0], queue.Done)
	f.sim.Hold()
	ids := f.enqueue("ask", hello, 3)
	if err := f.sim.AwaitHeld(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	stop()
	for _, id := range ids {
		job := f.job(id)
		if got := outcomes(f.attempts(id)); job.State != queue.Queued || job.Attempts != 0 || !slices.Equal(got, []string{"interrupted"}) {
			t.Errorf("%s, %d charged, %v", job.State, job.Attempts, got)
		}
	}
	f.sim.Release()
	f.start(nil, nil)
	f.untilEnded(ids)
}

func TestACallThatTakesTooLongIsAnError(t *testing.T) {
	t.Parallel()
	slow := fast("ask", "openai", "gpt-5", 1)
	slow.Timeout = time.Second
	f := newFleet(t, []jobtype.Type{slow}, llmtest.WithScript(llmtest.Script{Mode: "hang"}))
	f.start(nil, nil)
	job := f.untilState(f.enqueue("ask", hello, 1)[0], queue.Failed)
	if !strings.Contains(*job.LastError, "timed out") {
		t.Errorf("last_error: %s", *job.LastError)
	}
}

// A worker under another name holds a job and never beats again: the living one buries it and does the job.
func TestTheJobsOfADeadWorkerAreDoneByOthers(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)})
	id := f.enqueue("ask", hello, 1)[0]
	if err := f.queue.Join(t.Context(), "dead", []string{"ask"}, nil, 1); err != nil {
		t.Fatal(err)
	}
	if err := f.upstreams.Ensure(t.Context(), "openai:gpt-5"); err != nil {
		t.Fatal(err)
	}
	_, probe, err := f.upstreams.Grant(t.Context(), "openai:gpt-5", "dead", "", time.Hour)
	if err != nil || probe == uuid.Nil {
		t.Fatal(probe, err)
	}
	claimed, err := f.queue.Claim(t.Context(), queue.Claim{
		ID: uuid.New(), Worker: "dead", Line: "openai:gpt-5", Types: []string{"ask"}, Timeouts: []time.Duration{time.Hour},
		Limit: 1, Gate: queue.Gate{Upstream: "openai:gpt-5", Probe: probe},
	})
	if err != nil || len(claimed) != 1 {
		t.Fatal(claimed, err)
	}
	f.start(func(c *worker.Config) { c.DeathAfter = 3 * time.Second }, nil)
	f.untilState(id, queue.Done)
	got := slices.DeleteFunc(outcomes(f.attempts(id)), func(outcome string) bool {
		return outcome == "interrupted" // so soon is a worker dead here that a busy machine may keep a call from starting
	})
	if !slices.Equal(got, []string{"lost!", "ok!"}) {
		t.Errorf("attempts %v", got)
	}
}

// A frozen worker wakes up after the others took its job: what it brings changes nothing, and it goes on under a new name.
func TestAWorkerThatWasBuriedStartsAfresh(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)})
	f.start(nil, nil)
	f.untilState(f.enqueue("ask", hello, 1)[0], queue.Done)
	f.sim.Hold()
	id := f.enqueue("ask", hello, 1)[0]
	if err := f.sim.AwaitHeld(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	var old string
	if err := f.db.QueryRow(t.Context(), `delete from workers returning id`).Scan(&old); err != nil {
		t.Fatal(err)
	}
	f.until("a new name", func() bool { return f.count(`select count(*) from workers where id <> $1`, old) == 1 })
	f.sim.Release()
	f.untilState(id, queue.Done)
	got := outcomes(f.attempts(id))
	if got[len(got)-1] != "ok!" || len(got) != 2 || (got[0] != "lost!" && got[0] != "interrupted") {
		t.Errorf("attempts %v", got)
	}
}

func TestHandlersOfOnesOwn(t *testing.T) {
	t.Parallel()
	custom := jobtype.Type{Name: "report", Custom: true, Priority: 5, MaxAttempts: 3, Timeout: 10 * time.Second,
		Backoff: fast("", "", "", 1).Backoff}
	f := newFleet(t, []jobtype.Type{custom})
	f.start(nil, map[string]worker.Handler{"report": func(ctx context.Context, job worker.Job) (worker.Result, error) {
		var p struct{ Do string }
		if err := json.Unmarshal(job.Payload, &p); err != nil {
			return worker.Result{}, worker.Reject(err)
		}
		switch {
		case p.Do == "panic":
			panic("at the disco")
		case p.Do == "reject":
			return worker.Result{}, worker.Reject(errors.New("no such customer"))
		case p.Do == "snooze" && strings.HasSuffix(job.CallID, "/1"):
			return worker.Result{}, worker.Snooze(time.Millisecond, errors.New("not yet"))
		}
		return worker.Result{OutputText: "done", Response: json.RawMessage(`{"rows": 1e2}`)}, nil
	}})
	want := map[string]string{`{"do":"work"}`: "ok!", `{"do":"panic"}`: "error! error! error!", `{"do":"reject"}`: "rejected!", `{"do":"snooze"}`: "rate_limited ok!"}
	for payload, outcome := range want {
		id := f.enqueue("report", payload, 1)[0]
		f.untilEnded([]uuid.UUID{id})
		if got := strings.Join(outcomes(f.attempts(id)), " "); got != outcome {
			t.Errorf("%s: %s, want %s", payload, got, outcome)
		}
		if job := f.job(id); outcome == "ok!" && !strings.Contains(string(job.Result), `"response":{"rows": 1e2}`) {
			t.Errorf("result: %s", job.Result)
		}
	}
}

func TestATypeWithoutAHandlerIsLeftAlone(t *testing.T) {
	t.Parallel()
	custom := jobtype.Type{Name: "report", Custom: true, Priority: 1, MaxAttempts: 3, Timeout: 10 * time.Second}
	f := newFleet(t, []jobtype.Type{custom, fast("ask", "openai", "gpt-5", 5)})
	left := f.enqueue("report", `{}`, 1)[0]
	f.start(nil, nil)
	f.untilState(f.enqueue("ask", hello, 1)[0], queue.Done)
	if job := f.job(left); job.State != queue.Queued || job.Lease != 0 {
		t.Errorf("%s, lease %d", job.State, job.Lease)
	}
}

// A job that is far ahead of those that were claimed last, as one that comes back to its old place, is found all the same.
func TestAJobBeforeTheMarkIsFound(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)})
	f.start(nil, nil)
	f.count(`select setval('jobs_seq', 1000000)`)
	f.untilEnded(f.enqueue("ask", hello, 10))
	f.count(`select setval('jobs_seq', 1)`)
	f.untilState(f.enqueue("ask", hello, 1)[0], queue.Done)
}

// Calls of one upstream that hang do not fill the worker.
func TestOneUpstreamCannotHoldAllSlots(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5), fast("other", "openai", "gpt-4", 5)},
		llmtest.Decide(func(c llmtest.Call) string {
			if c.Model == "gpt-5" && c.Number > 2 {
				return "hang"
			}
			return "healthy"
		}))
	f.start(func(c *worker.Config) { c.Concurrency, c.Share = 4, 0 }, nil)
	f.untilState(f.enqueue("ask", hello, 1)[0], queue.Done)
	f.untilState(f.enqueue("other", hello, 1)[0], queue.Done)
	hanging := f.enqueue("ask", hello, 10)
	f.until("hanging calls", func() bool {
		return f.count(`select count(*) from jobs where id = any ($1) and state = 'running'`, hanging) == 2
	})
	f.untilEnded(f.enqueue("other", hello, 10))
	if n := f.count(`select count(*) from jobs where id = any ($1) and state = 'running'`, hanging); n != 2 {
		t.Errorf("%d slots of 4 are held by one upstream of two", n)
	}
	for _, id := range hanging {
		if _, err := f.queue.Cancel(t.Context(), queue.DefaultTenant, id); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTwoWorkersSeeTheSameBreakerWithinASecond(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)})
	one, other := f.looker(), f.looker()
	f.startOn(one, f.pool(f.url), nil, nil)
	f.startOn(other, f.pool(f.url), func(c *worker.Config) { c.ListenURL = "" }, nil) // it only polls
	f.untilEnded(f.enqueue("ask", hello, 40))
	if _, err := f.upstreams.Pause(t.Context(), "openai:gpt-5", "operator:test"); err != nil {
		t.Fatal(err)
	}
	calls := f.sim.Count() // claims check the breaker in their own statement, so not one more starts
	ids := f.enqueue("ask", hello, 20)
	f.untilLooked(one, other)
	if n := f.sim.Count(); n != calls {
		t.Errorf("%d calls started while paused", n-calls)
	}
	if _, err := f.upstreams.Resume(t.Context(), "openai:gpt-5", "operator:test"); err != nil {
		t.Fatal(err)
	}
	f.untilEnded(ids)
}
