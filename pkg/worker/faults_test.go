package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/llm"
	"github.com/sluicedev/sluice/pkg/llm/llmtest"
	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/worker"
)

func isClaim(sql string) bool    { return strings.Contains(sql, "insert into claims") }
func isSwap(sql string) bool     { return strings.Contains(sql, "upstream_swap") }
func isFreeLost(sql string) bool { return strings.Contains(sql, "where probe_worker is not null") }
func isLook(sql string) bool     { return strings.Contains(sql, "from upstreams order by name") }
func isRead(sql string) bool     { return strings.Contains(sql, "from upstreams where name = $1") }
func unpaced(name string) jobtype.Type {
	t := fast(name, "", "", 5)
	t.Custom = true
	return t
}

func TestAClaimWhoseReplyWasLostIsGivenBackUncharged(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)})
	ids := f.enqueue("ask", hello, 3)
	f.startOn(slowReply{f.pool(f.url), loseOnce(isClaim)}, f.pool(f.url), nil, nil)
	f.untilEnded(ids)
	var all []string
	for _, id := range ids {
		if job := f.job(id); job.State != queue.Done || job.Attempts != 1 {
			t.Errorf("%s after %d charged tries", job.State, job.Attempts)
		}
		all = append(all, strings.Join(outcomes(f.attempts(id)), " "))
	}
	if n := f.count(`select count(*) from attempts where outcome = 'interrupted' and not charged`); n != 1 || slices.Index(all, "interrupted ok!") < 0 {
		t.Errorf("attempts: %q", all)
	}
}

func TestAStopGivesBackAClaimWhoseReplyWasLost(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{unpaced("report")})
	id := f.enqueue("report", `{}`, 1)[0]
	lost := make(chan struct{})
	lose := loseOnce(isClaim)
	stop := f.startOn(slowReply{f.pool(f.url), func(sql string) error {
		err := lose(sql)
		if err != nil {
			close(lost)
		}
		return err
	}}, f.pool(f.url), nil, map[string]worker.Handler{"report": func(context.Context, worker.Job) (worker.Result, error) {
		return worker.Result{}, nil
	}})
	<-lost
	stop()
	if got := outcomes(f.attempts(id)); got[0] != "interrupted" {
		t.Errorf("attempts %v", got)
	}
	if n := f.count(`select count(*) from jobs where state = 'running'`); n != 0 {
		t.Error("the worker is gone and its job still runs")
	}
}

func TestAPermitWhoseReplyWasLostIsGivenBack(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)})
	ids := f.enqueue("ask", hello, 3)
	f.startOn(slowReply{f.pool(f.url), loseOnce(isSwap)}, f.pool(f.url), nil, nil) // the first swap grants the first call
	f.untilEnded(ids)
}

// A grant that was given up is carried out only after its permit was given back, which then found nothing to free. The
// permit must not stay out for as long as the longest call may take.
func TestAPermitThatIsGrantedLateIsGivenBack(t *testing.T) {
	t.Parallel()
	slow := fast("ask", "openai", "gpt-5", 5)
	slow.Timeout = time.Hour
	f := newFleet(t, []jobtype.Type{slow})
	first := f.enqueue("ask", hello, 1)[0]
	late, reads := make(chan func() bool, 1), make(chan struct{}, 1000)
	f.startOn(&lateSwap{DB: slowReply{f.pool(f.url), func(sql string) error {
		if isRead(sql) {
			reads <- struct{}{}
		}
		return nil
	}}, given: func(swap func() bool) {
		if _, err := f.queue.Cancel(t.Context(), queue.DefaultTenant, first); err != nil {
			t.Error(err) // the worker would else ask again, and the late swap miss
		}
		<-reads // the grant's own
		late <- swap
	}}, f.pool(f.url), nil, nil)
	swap := <-late
	<-reads // to free the permit, which is not out
	if !swap() {
		t.Fatal("the row had changed")
	}
	f.untilEnded(f.enqueue("ask", hello, 3))
}

// lateSwap is a database in which the first swap is given up before it is carried out.
type lateSwap struct {
	pg.DB
	given func(swap func() bool)
	once  sync.Once
}

func (d *lateSwap) QueryRow(ctx context.Context, sql string, args ...any) (row pgx.Row) {
	if isSwap(sql) {
		d.once.Do(func() {
			d.given(func() (swapped bool) {
				return d.DB.QueryRow(context.WithoutCancel(ctx), sql, args...).Scan(&swapped) == nil && swapped
			})
			row = onlyRow{nil, errLost}
		})
	}
	if row != nil {
		return row
	}
	return d.DB.QueryRow(ctx, sql, args...)
}

func TestThePermitOfADeadWorkerIsFreedInTheEnd(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)})
	if err := f.queue.Join(t.Context(), "dead", []string{"ask"}, nil, 1); err != nil {
		t.Fatal(err)
	}
	if _, probe, err := f.upstreams.Grant(t.Context(), "openai:gpt-5", "dead", "", time.Hour); err != nil || probe == uuid.Nil {
		t.Fatal(probe, err)
	}
	f.startOn(slowReply{f.pool(f.url), loseOnce(isFreeLost)}, f.pool(f.url),
		func(c *worker.Config) { c.DeathAfter = 3 * time.Second }, nil)
	f.untilEnded(f.enqueue("ask", hello, 3))
}

// Postgres is away while a probe is answered: the line opens all the same when it is back.
func TestAProbesAnswerThatCouldNotBeToldIsToldLater(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"healthy", "rate_limited", "bad_request", "error"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)}, llmtest.Decide(func(c llmtest.Call) string {
				if c.Number == 1 {
					return mode
				}
				return "healthy"
			}))
			f.sim.Hold()
			ids := f.enqueue("ask", hello, 5)
			l := f.link()
			f.startOn(f.pool(l.through), f.pool(l.through), nil, nil)
			if err := f.sim.AwaitHeld(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			l.sever()
			f.sim.Release()
			if err := f.sim.AwaitIdle(t.Context()); err != nil {
				t.Fatal(err)
			}
			l.mend()
			f.untilEnded(ids)
		})
	}
}

// A cancel that the worker hears of before the reply to its claim is not forgotten: the call is not made, or if the two
// crossed at the last moment, aborted. Forgotten, it would go on for as long as it likes.
func TestACancelThatIsHeardBeforeTheClaimsReply(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{unpaced("report")})
	id := f.enqueue("report", `{}`, 1)[0]
	var once sync.Once
	f.startOn(slowReply{f.pool(f.url), func(sql string) error {
		if isClaim(sql) {
			once.Do(func() {
				f.untilState(id, queue.Running)
				if _, err := f.queue.Cancel(t.Context(), queue.DefaultTenant, id); err != nil {
					t.Error(err)
				}
				f.until("the worker has heard", func() bool { return f.count(`select count(*) from cancels`) == 0 })
			})
		}
		return nil
	}}, f.pool(f.url), nil, map[string]worker.Handler{"report": func(ctx context.Context, _ worker.Job) (worker.Result, error) {
		<-ctx.Done()
		return worker.Result{}, ctx.Err()
	}})
	f.until("the attempt has ended", func() bool { return slices.Equal(outcomes(f.attempts(id)), []string{"cancelled"}) })
}

// An operator pauses the upstream while the job of a probe is being claimed: its permit is over, and the worker has read so
// before the reply to its claim came. The call is not made.
func TestAProbeWhosePermitIsOverDoesNotStart(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)})
	ids := f.enqueue("ask", hello, 1)
	var once sync.Once
	var looks atomic.Int32
	f.startOn(slowReply{f.pool(f.url), func(sql string) error {
		if isLook(sql) {
			looks.Add(1)
		}
		if isClaim(sql) {
			once.Do(func() {
				f.untilState(ids[0], queue.Running)
				if _, err := f.upstreams.Pause(t.Context(), "openai:gpt-5", "operator:test"); err != nil {
					t.Error(err)
				}
				before := looks.Load()
				f.until("the worker has read that", func() bool { return looks.Load() >= before+3 }) // the first may have been under way
			})
		}
		return nil
	}}, f.pool(f.url), nil, nil)
	f.until("the attempt has ended", func() bool { return slices.Equal(outcomes(f.attempts(ids[0])), []string{"interrupted"}) })
	if n := f.sim.Count(); n != 0 {
		t.Errorf("%d calls started while paused", n)
	}
	if _, err := f.upstreams.Resume(t.Context(), "openai:gpt-5", "operator:test"); err != nil {
		t.Fatal(err)
	}
	f.untilEnded(ids)
}

// Every connection is cut again and again under load: nothing is lost, nothing is charged for it, all is done.
func TestConnectionsThatAreCutUnderLoadLoseNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5), fast("other", "openai", "gpt-4", 5)},
		llmtest.WithScript(llmtest.Script{LatencyMS: 5, JitterMS: 50}))
	l := f.link()
	for range 2 {
		f.startOn(f.pool(l.through), f.pool(l.through), func(c *worker.Config) { c.DeathAfter = 10 * time.Second }, nil)
	}
	f.until("both have joined", func() bool { return f.count(`select count(*) from workers`) == 2 })
	var ids []uuid.UUID
	for range 15 {
		ids = append(ids, f.enqueue("ask", hello, 20)...)
		ids = append(ids, f.enqueue("other", hello, 20)...)
		time.Sleep(200 * time.Millisecond) // how long connections live here
		l.sever()
		l.mend()
	}
	f.untilEnded(ids)
	if n := f.count(`select count(*) from jobs where state <> 'done' or attempts <> 1`); n != 0 {
		t.Errorf("%d jobs are not done at their one charged try", n)
	}
	if n := f.count(`select count(*) from attempts where outcome = 'lost'`); n != 0 {
		t.Errorf("%d attempts were lost", n)
	}
}

// Postgres is away for longer than it takes to be dead: nobody is buried, and what was in flight is recorded.
func TestAnOutageOfPostgresBuriesNobody(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)})
	l := f.link()
	for range 3 {
		f.startOn(f.pool(l.through), f.pool(l.through), func(c *worker.Config) { c.DeathAfter = 12 * time.Second }, nil)
	}
	f.untilEnded(f.enqueue("ask", hello, 3))
	f.sim.Hold()
	ids := f.enqueue("ask", hello, 10)
	if err := f.sim.AwaitHeld(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	l.sever()
	f.sim.Release()
	time.Sleep(14 * time.Second) // the outage: longer than DeathAfter
	l.mend()
	f.untilEnded(ids)
	if n := f.count(`select count(*) from attempts where outcome not in ('ok', 'interrupted')`); n != 0 {
		t.Errorf("%d attempts are lost", n)
	}
	if n := f.count(`select count(*) from workers`); n != 3 {
		t.Errorf("%d workers of 3 are left", n)
	}
}

func TestAHandlerThatDoesNotHeedItsContextDoesNotKeepTheWorkerFromStopping(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{unpaced("report")})
	started, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	stop := f.start(func(c *worker.Config) { c.DrainLimit = 0 }, map[string]worker.Handler{
		"report": func(context.Context, worker.Job) (worker.Result, error) {
			close(started)
			<-release
			return worker.Result{}, nil
		}})
	f.enqueue("report", `{}`, 1)
	<-started
	stop()
	if n := f.count(`select count(*) from workers`); n != 0 {
		t.Error("the worker did not sign off")
	}
}

// A hundred calls in flight fail at one moment: that is one outage, and costs no job more than one try.
func TestAHundredFailuresAtOnceAreOneOutage(t *testing.T) {
	t.Parallel()
	const n = 100
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)}, llmtest.Decide(func(c llmtest.Call) string {
		if c.Number > 1 && c.Number <= n+1 {
			return "down"
		}
		return "healthy"
	}))
	f.start(func(c *worker.Config) { c.Concurrency = n }, nil)
	f.untilEnded(f.enqueue("ask", hello, 1))
	f.sim.Hold()
	ids := f.enqueue("ask", hello, n)
	if err := f.sim.AwaitHeld(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	f.sim.Release()
	f.untilEnded(ids)
	if opened := f.count(`select count(*) from breaker_events where from_state = 'closed' and to_state = 'open'`); opened != 1 {
		t.Errorf("the breaker opened %d times", opened)
	}
	if lost := f.count(`select count(*) from jobs where state <> 'done' or attempts > 2`); lost != 0 {
		t.Errorf("%d jobs failed, or paid for the outage more than once", lost)
	}
	if charged := f.count(`select count(*) from attempts where outcome = 'error' and charged`); charged >= int64(f.rules.Run) {
		t.Errorf("%d failures were charged: more than come before the breaker opens", charged)
	}
}

// A job that alone is refused, while others succeed, fails in the end.
func TestAJobThatAloneIsRefusedIsRejected(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)}, llmtest.KeepBodies(),
		llmtest.Decide(func(c llmtest.Call) string {
			if strings.Contains(string(c.Body), "firewall") {
				return "forbidden"
			}
			return "healthy"
		}))
	f.start(func(c *worker.Config) { c.Unconfirmed = 4 * time.Second }, nil) // another job is called before, after one second
	f.untilEnded(f.enqueue("ask", hello, 1))
	bad := f.enqueue("ask", `{"input":"the firewall dislikes this"}`, 1)[0]
	f.until("it was refused", func() bool { return slices.Contains(outcomes(f.attempts(bad)), "held") })
	f.untilEnded(f.enqueue("ask", hello, 10))
	f.untilState(bad, queue.Failed)
	if got := slices.Compact(outcomes(f.attempts(bad))); !slices.Equal(got, []string{"held", "rejected!"}) {
		t.Errorf("attempts %v", got)
	}
	if n := f.count(`select count(*) from breaker_events`); n != 0 {
		t.Errorf("one job moved the breaker %d times", n)
	}
}

func TestAHundredDelayedJobsAreNotForgotten(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{unpaced("report")})
	var calls atomic.Int64
	f.start(nil, map[string]worker.Handler{"report": func(_ context.Context, job worker.Job) (worker.Result, error) {
		if calls.Add(1); strings.HasSuffix(job.CallID, "/1") {
			return worker.Result{}, fmt.Errorf("the first try fails")
		}
		return worker.Result{Response: json.RawMessage(`{}`)}, nil
	}})
	f.untilEnded(f.enqueue("report", `{}`, 100))
	if n := calls.Load(); n != 200 {
		t.Errorf("%d calls for 100 jobs", n)
	}
}

// A handler may say from any goroutine, as often as it likes and after its own end, that the answer has begun.
func TestStartedMayBeCalledFromAnywhere(t *testing.T) {
	t.Parallel()
	paced := fast("report", "openai", "gpt-5", 5)
	paced.Custom = true
	f := newFleet(t, []jobtype.Type{paced})
	var strays sync.WaitGroup
	f.start(nil, map[string]worker.Handler{"report": func(_ context.Context, job worker.Job) (worker.Result, error) {
		for range 3 {
			strays.Go(func() { job.Started(llm.Start{At: time.Now()}) })
		}
		return worker.Result{}, nil
	}})
	f.untilEnded(f.enqueue("report", `{}`, 50))
	strays.Wait()
	if n := f.count(`select count(*) from jobs where state <> 'done' or attempts <> 1`); n != 0 {
		t.Errorf("%d jobs are not done at once", n)
	}
}

// Whatever a handler leaves behind, its job ends, once, and so do the jobs that end with it.
func TestAResultThatCannotBeKeptAsItIsEndsItsJobAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{unpaced("report")})
	odd := map[string]worker.Result{
		"nul":   {OutputText: "a\x00b\xff", Response: json.RawMessage(`"\u0000 \ud800"`)},
		"cut":   {Response: json.RawMessage(`{"broken`)},
		"empty": {Response: json.RawMessage(``)},
		"early": {Incomplete: "why\x00" + strings.Repeat("y", 2<<10)},
		"deep":  {Response: json.RawMessage(strings.Repeat("[", 50_000) + strings.Repeat("]", 50_000))},
		"long":  {OutputText: strings.Repeat("x", 17<<20)},
		"big":   {OutputText: "kept", Response: json.RawMessage(`"` + strings.Repeat("x", 16<<20) + `"`)},
	}
	f.start(nil, map[string]worker.Handler{"report": func(_ context.Context, job worker.Job) (worker.Result, error) {
		var p struct{ Do string }
		if err := json.Unmarshal(job.Payload, &p); err != nil {
			return worker.Result{}, worker.Reject(err)
		}
		return odd[p.Do], nil
	}})
	var ids []uuid.UUID
	for name := range odd {
		ids = append(ids, f.enqueue("report", fmt.Sprintf(`{"do":%q}`, name), 1)...)
		ids = append(ids, f.enqueue("report", `{}`, 5)...)
	}
	f.untilEnded(ids)
	if n := f.count(`select count(*) from jobs where lease <> 1`); n != 0 {
		t.Errorf("%d jobs were run more than once", n)
	}
	if n := f.count(`select count(*) from jobs where state = 'done' and payload::text = '{}'`); n != 35 {
		t.Errorf("%d of 35 ordinary jobs are done", n)
	}
	if n := f.count(`select octet_length(result->>'output_text') from jobs where payload->>'do' = 'long'`); n != 16<<20 {
		t.Errorf("%d bytes of a text that is too long are kept", n)
	}
	if n := f.count(`select octet_length(result->>'incomplete') from jobs where payload->>'do' = 'early'`); n != 1<<10 {
		t.Errorf("%d bytes of why a text stops early are kept", n)
	}
	if n := f.count(`select octet_length(result->'response'->>'not_kept') from jobs where payload->>'do' = 'big' and result->>'output_text' = 'kept'`); n == 0 {
		t.Error("nothing says that a response was too big to be kept")
	}
}

// However much a handler has to say about its failure, so much of it is kept.
func TestALongErrorIsCut(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 10<<10)
	failures := map[string]func() error{
		"an error":  func() error { return errors.New(long) },
		"rejected":  func() error { return worker.Reject(errors.New(long)) },
		"a refusal": func() error { return &llm.Error{Kind: llm.Refused, Status: 400, Message: long} },
		"a panic":   func() error { panic(long) },
	}
	once := unpaced("report")
	once.MaxAttempts = 1
	f := newFleet(t, []jobtype.Type{once})
	f.start(nil, map[string]worker.Handler{"report": func(_ context.Context, job worker.Job) (worker.Result, error) {
		var p struct{ Do string }
		if err := json.Unmarshal(job.Payload, &p); err != nil {
			return worker.Result{}, err
		}
		return worker.Result{}, failures[p.Do]()
	}})
	for name := range failures {
		job := f.untilState(f.enqueue("report", fmt.Sprintf(`{"do":%q}`, name), 1)[0], queue.Failed)
		if n := len(*job.LastError); n != 4<<10 || !strings.Contains(*job.LastError, "[cut: ") {
			t.Errorf("%s: %d bytes are kept", name, n)
		}
	}
}

// A worker with many free slots fills them with several claims, each of so many jobs at most.
func TestAClaimIsBounded(t *testing.T) {
	t.Parallel()
	const jobs = 1100
	f := newFleet(t, []jobtype.Type{unpaced("report")})
	ids := f.enqueue("report", `{}`, jobs)
	var running sync.WaitGroup
	running.Add(jobs)
	release := make(chan struct{})
	f.start(func(c *worker.Config) { c.Concurrency = jobs }, map[string]worker.Handler{
		"report": func(context.Context, worker.Job) (worker.Result, error) {
			running.Done()
			<-release
			return worker.Result{}, nil
		}})
	running.Wait()
	if most := f.count(`select max(cardinality(job_ids)) from claims`); most != 500 {
		t.Errorf("%d jobs in a claim, want 500", most)
	}
	close(release)
	f.untilEnded(ids)
}
