package queue

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/pg"
)

func idsOf(jobs []Claimed) []uuid.UUID { return of(jobs, func(j Claimed) uuid.UUID { return j.ID }) }

func TestClaimTakesByPriorityThenPlace(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var jobs []NewJob
	for _, priority := range []int{5, 1, 10, 1, 5} {
		jobs = append(jobs, NewJob{Type: "chat", Payload: prompt, Priority: &priority})
	}
	ids := f.add(jobs...)
	w := f.join("w")
	first := f.claim(w, 2)
	rest := f.claim(w, 100)
	want := []uuid.UUID{ids[1], ids[3], ids[0], ids[4], ids[2]}
	if got := idsOf(append(first, rest...)); len(first) != 2 || !slices.Equal(got, want) {
		t.Errorf("claimed %v; want %v", got, want)
	}
	j := first[0]
	if j.Lease != 1 || j.Attempts != 0 || j.MaxAttempts != 3 || string(j.Payload) != string(prompt) || j.Tenant != DefaultTenant || *j.Upstream != gpt5 {
		t.Errorf("claimed as %+v", j)
	}
	job := f.wantState(j.ID, Running)
	if *job.Worker != w || !job.DeadlineAt.Equal(job.StartedAt.Add(75*time.Second)) || !job.StartedAt.Equal(j.StartedAt) {
		t.Errorf("running as %+v", job)
	}
	f.wantOutcomes(j.ID, "1 running")
	f.wantConsistent()
}

// A claim looks at each priority from its own mark, so that what is urgent waits for nobody, and leaves what is before it
// to a claim from the head.
func TestClaimStartsAtTheMark(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	place := func(seq int64, priority int) uuid.UUID {
		f.exec(`select setval('jobs_seq', $1, false)`, seq)
		return f.add(NewJob{Type: "chat", Payload: prompt, Priority: &priority})[0]
	}
	const passed = 3 * markSlack
	place(passed, 5)
	w := f.join("w")
	marked := claimOf(w, 10)
	marked.Mark.Pass(f.claim(w, 10)...)
	before, slack, behind, urgent := place(1, 5), place(passed-markSlack, 5), place(passed+1, 5), place(2, 4)
	if got := idsOf(must[[]Claimed](f)(f.Claim(t.Context(), marked))); !slices.Equal(got, []uuid.UUID{urgent, slack, behind}) {
		t.Errorf("claimed %v from the mark; want %v, %v and %v", got, urgent, slack, behind)
	}
	marked.Mark.Pass(Claimed{priority: 5, seq: 1})
	marked.ID = uuid.New()
	if got := must[[]Claimed](f)(f.Claim(t.Context(), marked)); len(got) != 0 {
		t.Errorf("the mark went back; claimed %v", idsOf(got))
	}
	if got := idsOf(f.claim(w, 10)); !slices.Equal(got, []uuid.UUID{before}) {
		t.Errorf("claimed %v from the head; want %v", got, before)
	}
	f.wantConsistent()
}

func TestClaimTakesOnlyItsTypesAndLine(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ids := f.add(NewJob{Type: "paced", Payload: prompt, Priority: new(1)}, NewJob{Type: "chat", Payload: prompt},
		NewJob{Type: "free", Payload: prompt})
	w := f.join("w")
	c := claimOf(w, 10)
	c.Types, c.Timeouts = []string{"chat", "free"}, []time.Duration{time.Minute, time.Minute}
	if got := idsOf(must[[]Claimed](f)(f.Claim(t.Context(), c))); !slices.Equal(got, ids[1:2]) {
		t.Errorf("claimed %v; want the chat alone", got)
	}
	free := Claim{ID: uuid.New(), Worker: w, Line: "free", Types: c.Types, Timeouts: c.Timeouts, Limit: 10}
	if got := must[[]Claimed](f)(f.Claim(t.Context(), free)); len(got) != 1 || got[0].ID != ids[2] || got[0].Upstream != nil {
		t.Errorf("claimed %v of the line that is not paced", got)
	}
	f.wantState(ids[0], Queued)
	f.wantConsistent()
}

func TestClaimersInParallelShareTheWork(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ids := f.chats(500)
	var mu sync.Mutex
	leases := map[uuid.UUID][]int64{}
	var all sync.WaitGroup
	for i := range 8 {
		w := f.join(fmt.Sprint("w", i))
		all.Go(func() {
			for {
				jobs, err := f.Claim(t.Context(), claimOf(w, 7))
				if err != nil {
					t.Error(err)
				}
				if len(jobs) == 0 { // none, or all left are in others' hands
					return
				}
				mu.Lock()
				for _, j := range jobs {
					leases[j.ID] = append(leases[j.ID], j.Lease)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	for _, id := range ids {
		if !slices.Equal(leases[id], []int64{1}) {
			t.Fatalf("job %s was claimed with the leases %v", id, leases[id])
		}
	}
	f.wantConsistent()
}

func TestClaimChecksTheGate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ids := f.chats(2)
	w := f.join("w")
	try := func(gate Gate) []uuid.UUID {
		c := claimOf(w, 1)
		c.Gate = gate
		return idsOf(must[[]Claimed](f)(f.Claim(t.Context(), c)))
	}
	probe := uuid.New()
	for name, gate := range map[string]Gate{
		"another generation": {Upstream: gpt5, Generation: 1},
		"no such upstream":   {Upstream: "openai:o9"},
		"no such permit":     {Upstream: gpt5, Probe: probe},
	} {
		if got := try(gate); len(got) > 0 {
			t.Errorf("%s: claimed %v", name, got)
		}
	}
	const open = `update upstreams set state = 'half-open', reason = 'failures', generation = 2, opened_at = now(),
		probe_id = $1, probe_worker = 'w', probe_until = now() + $2::interval where name = $3`
	f.exec(open, probe, "-1 second", gpt5)
	if got := try(Gate{Upstream: gpt5, Generation: 2, Probe: probe}); len(got) > 0 {
		t.Errorf("claimed %v with a permit whose time is over", got)
	}
	f.exec(open, probe, "1 minute", gpt5)
	if got := try(Gate{Upstream: gpt5, Generation: 2}); len(got) > 0 {
		t.Errorf("claimed %v without the permit", got)
	}
	if got := try(Gate{Upstream: gpt5, Probe: uuid.New()}); len(got) > 0 {
		t.Errorf("claimed %v with another permit", got)
	}
	if got := try(Gate{Upstream: gpt5, Generation: 2, Probe: probe, Except: ids[0]}); !slices.Equal(got, ids[1:]) {
		t.Errorf("the probe took %v; want the job that was not the last probe's", got)
	}
	if got := try(Gate{Upstream: gpt5, Generation: 2, Probe: probe}); !slices.Equal(got, ids[:1]) {
		t.Errorf("the probe took %v", got)
	}
	f.wantConsistent()
}

func TestClaimDropsOrphans(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ids := f.chats(3)
	f.exec(`update jobs set state = 'cancelled', finished_at = now() where id = $1`, ids[0])
	f.exec(`insert into ready select line, 1, 0, gen_random_uuid(), tenant, type, since from ready limit 1`)
	if got := idsOf(f.claim(f.join("w"), 10)); !slices.Equal(got, ids[1:]) {
		t.Errorf("claimed %v; want %v", got, ids[1:])
	}
	if n := one[int](f, `select count(*) from ready`); n != 0 {
		t.Errorf("%d orphans are left", n)
	}
	f.wantState(ids[0], Cancelled)
}

func TestClaimLeavesWhatExpired(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := f.add(NewJob{Type: "patient", Payload: prompt})[0]
	f.exec(`update jobs set expires_at = now() - interval '1 second'`)
	f.exec(`update ready set expires_at = now() - interval '1 second'`)
	if got := f.claim(f.join("w"), 1); len(got) != 0 {
		t.Errorf("claimed %v, whose max_wait is over", got)
	}
	f.wantState(id, Queued)
}

func TestGiveBackIsNotCharged(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.add(NewJob{Type: "chat", Payload: prompt}, NewJob{Type: "patient", Payload: prompt})
	w := f.join("w")
	c := claimOf(w, 10)
	if found := must[bool](f)(f.GiveBack(t.Context(), w, c.ID)); found {
		t.Error("gave back a claim that was never made")
	}
	jobs := must[[]Claimed](f)(f.Claim(t.Context(), c))
	if found := must[bool](f)(f.GiveBack(t.Context(), "another", c.ID)); found || len(jobs) != 2 {
		t.Errorf("another worker gave back the claim of %d jobs", len(jobs))
	}
	if found := must[bool](f)(f.GiveBack(t.Context(), w, c.ID)); !found {
		t.Error("the claim was not found")
	}
	for _, j := range jobs {
		if job := f.wantState(j.ID, Queued); job.Attempts != 0 || job.Lease != 1 {
			t.Errorf("given back as %+v", job)
		}
		f.wantOutcomes(j.ID, "1 interrupted")
	}
	if n := one[int](f, `select count(*) from claims`); n != 0 {
		t.Errorf("%d claims are left", n)
	}
	if again := f.claim(w, 10); len(again) != 2 || again[0].ID != jobs[0].ID || again[0].Lease != 2 {
		t.Errorf("claimed again as %+v; want the old places", again)
	}
	f.wantConsistent()
}

// 100,000 jobs of an upstream that is open stand before the one that can start.
func TestClaimReadsNoOtherLine(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into ready select $1, 1, n, gen_random_uuid(), 'default', 'chat', now() from generate_series(-100000, -1) n`, small)
	f.exec(`insert into jobs (type, state, priority, payload, max_attempts, upstream, finished_at)
		select 'chat', 'cancelled', 1, '{}', 3, $1, now() from generate_series(1, 20000)`, small)
	f.chats(1000)
	placed := regexp.MustCompile(`LockRows.*\n +-> +Index Scan using ready_pkey on ready.*\n +Index Cond: \(\(line = .*\) AND \(priority = .*\) AND \(seq >= `)
	args := []any{uuid.New(), "w", gpt5, []string{"chat", "paced"}, []time.Duration{time.Minute, time.Minute}, 15 * time.Second, 10, gpt5, 0, nil, nil, make([]int64, jobtype.MaxPriority), time.Second}
	for _, analyzed := range []bool{false, true} {
		if analyzed {
			f.exec(`analyze`)
		}
		for _, generic := range []bool{true, false} {
			plan := f.explain(generic, once, claimSQL, args)
			if !placed.MatchString(plan) || !strings.Contains(plan, "Tid Scan on ready") ||
				strings.Contains(plan, "Seq Scan on ready") || strings.Contains(plan, "Seq Scan on jobs") {
				t.Errorf("analyzed %v, generic %v:\n%s", analyzed, generic, plan)
			}
		}
	}
}

// A page far down, and a slice of a repair, begin where the last one ended, in the plan for any value too.
func TestPagesBeginWhereTheLastOneEnded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into jobs (type, state, priority, payload, max_attempts, finished_at)
		select 'chat', 'cancelled', 1, '{}', 3, now() from generate_series(1, 20000)`)
	f.exec(`analyze jobs`)
	for name, c := range map[string]struct {
		sql  string
		args int
		cond *regexp.Regexp
	}{
		"list":   {fmt.Sprintf(listSQL, everyJob), 7, regexp.MustCompile(`Index Cond: .*id < \$4`)},
		"repair": {repairSQL, 2, regexp.MustCompile(`Index Cond: .*id > \$2`)},
	} {
		plan := f.explain(true, "", c.sql, make([]any, c.args))
		if !c.cond.MatchString(plan) || strings.Contains(plan, "Seq Scan on jobs") {
			t.Errorf("%s:\n%s", name, plan)
		}
	}
}

// No index of jobs has a column that a job's life changes, so that updates stay in their page.
func TestJobsUpdatesCanBeHOT(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	indexed := one[[]string](f, `select array_agg(distinct a.attname::text order by a.attname::text) from pg_index i
		join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey) where i.indrelid = 'jobs'::regclass`)
	if want := []string{"id", "idempotency_key", "tenant"}; !slices.Equal(indexed, want) {
		t.Errorf("indexes of jobs are on %v; want %v alone", indexed, want)
	}
	if n := one[int](f, `select count(*) from pg_index where indrelid = 'jobs'::regclass and indexprs is not null`); n != 0 {
		t.Errorf("%d indexes of jobs are on expressions", n)
	}
}

// Every statement is one that Postgres takes, whoever calls it.
func TestStatementsPrepare(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	conn := f.acquire()
	for name, sql := range map[string]string{
		"sync": syncSQL, "newer": newerSQL, "enqueue": enqueueSQL, "earlier": earlierSQL, "claim": claimSQL, "claimOf": claimOfSQL,
		"forget": forgetSQL, "end": endSQL, "leaveLine": leaveLineSQL, "cancel": cancelSQL, "retry": retrySQL, "look": lookSQL,
		"join": joinSQL, "beat": beatSQL, "leave": leaveSQL, "rescue": rescueSQL, "counts": countsSQL, "inFlight": inFlightSQL,
		"enqueueNew": enqueueNewSQL, "position": positionSQL, "get": getSQL, "attempts": attemptsSQL, "promote": promoteSQL,
		"expireReady": expireReadySQL, "expireDelayed": expireDelayedSQL, "compact": compactSQL, "repair": repairSQL, "bell": bellSQL,
		"news": newsSQL, "front": frontSQL, "manyDelayed": manyDelayedSQL,
	} {
		if _, err := conn.Conn().Prepare(t.Context(), name, sql); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for state, source := range sources {
		floor := source
		if sample, ok := samples[state]; ok {
			floor = sample
		}
		for sql, source := range map[string]string{listSQL: source, floorSQL: floor} {
			sql = fmt.Sprintf(sql, source)
			if _, err := conn.Conn().Prepare(t.Context(), sql, sql); err != nil {
				t.Errorf("%s: %v\n%s", state, err, sql)
			}
		}
	}
}

// Behind a pooler there are no prepared statements: the ways in which pgx sends them unnamed work as well.
func TestStatementsWorkInEveryExecMode(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cache_describe", "describe_exec"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			url := f.db.Config().ConnString()
			separator := "?"
			if strings.Contains(url, "?") {
				separator = "&"
			}
			pool, err := pg.Open(t.Context(), url+separator+"default_query_exec_mode="+mode, pg.Options{MaxConns: 2})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(pool.Close)
			f.Queue = New(pool, f.types)
			ids := f.add(NewJob{Type: "chat", Payload: prompt, IdempotencyKey: "k"}, NewJob{Type: "patient", Payload: prompt, Delay: new(time.Duration(0))})
			f.add(NewJob{Type: "chat", Payload: prompt, IdempotencyKey: "k"})
			w := f.join("w")
			jobs := f.claim(w, 10)
			if len(jobs) != 2 {
				t.Fatalf("claimed %d", len(jobs))
			}
			f.end(w, ok(jobs[0]), End{JobID: jobs[1].ID, Lease: 1, Outcome: RateLimited, State: Delayed, Delay: time.Hour})
			must[Job](f)(f.Cancel(t.Context(), DefaultTenant, ids[1]))
			must[Job](f)(f.Retry(t.Context(), DefaultTenant, ids[1]))
			must[Page](f)(f.List(t.Context(), Filter{Tenant: DefaultTenant}))
			f.latest(Known{ID: ids[0]})
			must[[]Standing](f)(f.Front(t.Context(), gpt5))
			must[int](f)(f.Promote(t.Context()))
			must[int](f)(f.Rescue(t.Context()))
			f.wantState(ids[0], Done)
			f.wantConsistent()
		})
	}
}

// A worker that was buried while it was frozen claims nothing before it notices: its jobs would only be rescued again.
func TestABuriedWorkerClaimsNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.chats(1)
	frozen := f.join("frozen")
	if !must[bool](f)(f.Bury(t.Context(), frozen, 0)) {
		t.Fatal("not buried")
	}
	if jobs := f.claim(frozen, 1); len(jobs) != 0 {
		t.Errorf("claimed %d jobs", len(jobs))
	}
	if jobs := f.claim(f.join("awake"), 1); len(jobs) != 1 {
		t.Errorf("the job is not left for others: %d", len(jobs))
	}
}
