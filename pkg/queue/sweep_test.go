package queue

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

// due makes every delayed job due.
func (f fixture) due() {
	f.Helper()
	f.exec(`with job as (update jobs set scheduled_at = scheduled_at - interval '1 day' where state = 'delayed' returning id, scheduled_at)
		update delayed d set due_at = job.scheduled_at from job where d.job_id = job.id`)
}

// expire lets every max_wait be over.
func (f fixture) expire() {
	f.Helper()
	f.exec(`update jobs set expires_at = now() - interval '1 second' where expires_at is not null`)
	f.exec(`update ready set expires_at = now() - interval '1 second' where expires_at is not null`)
	f.exec(`update delayed set expires_at = now() - interval '1 second' where expires_at is not null`)
}

func TestPromoteQueuesWhatIsDue(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	later := f.add(NewJob{Type: "chat", Payload: prompt, Delay: new(time.Hour)})[0]
	front := f.add(NewJob{Type: "chat", Payload: prompt})[0]
	if n := must[int](f)(f.Promote(t.Context())); n != 0 {
		t.Errorf("promoted %d before their time", n)
	}
	f.due()
	if n := must[int](f)(f.Promote(t.Context())); n != 1 {
		t.Errorf("promoted %d; want 1", n)
	}
	f.wantState(later, Queued)
	f.wantConsistent()
	if got := idsOf(f.claim(f.join("w"), 2)); !slices.Equal(got, []uuid.UUID{later, front}) {
		t.Errorf("claimed %v; want the older place first", got)
	}
}

func TestPromoteIsBoundedAndShared(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.add(slices.Repeat([]NewJob{{Type: "chat", Payload: prompt, Delay: new(time.Hour)}}, 2500)...)
	f.due()
	if n := must[int](f)(f.Promote(t.Context())); n != sweepSize {
		t.Errorf("one statement promoted %d; want %d", n, sweepSize)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if _, err := f.Promote(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	must[int](f)(f.Promote(t.Context()))
	if n := one[int](f, `select count(*) from ready`); n != 2500 {
		t.Errorf("%d are queued; want 2500", n)
	}
	f.wantConsistent()
}

// Whatever a hand left in the way, the others are promoted.
func TestPromoteIsNotStoppedByAnOrphan(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ids := f.add(NewJob{Type: "chat", Payload: prompt}, NewJob{Type: "chat", Payload: prompt, Delay: new(time.Hour)})
	f.exec(`update jobs set state = 'delayed', scheduled_at = now() where id = $1`, ids[0])
	if _, found, err := f.Repair(t.Context(), uuid.Nil); err != nil || found != 1 {
		t.Fatal(found, err)
	}
	f.due()
	must[int](f)(f.Promote(t.Context()))
	f.wantState(ids[0], Queued)
	f.wantState(ids[1], Queued)
	f.wantConsistent()
}

func TestExpireSaysWhatTheJobWaitedFor(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	again := f.inState(Running, w)
	f.end(w, End{JobID: again, Lease: 1, Outcome: Error, Charged: true, State: Delayed, Delay: time.Hour, Error: "502 bad gateway"})
	running := f.inState(Running, w)
	queued := f.inState(Queued, w)
	never := f.chats(1)[0]
	f.expire()
	f.exec(`update upstreams set state = 'open', reason = 'account', opened_at = now(), retry_at = now() where name = $1`, gpt5)
	if n := must[int](f)(f.Expire(t.Context())); n != 2 {
		t.Errorf("expired %d; want 2", n)
	}
	for id, words := range map[uuid.UUID][]string{queued: {"max_wait", gpt5, "open", "account"}, again: {"max_wait", "502 bad gateway"}} {
		job := f.wantState(id, Failed)
		for _, word := range words {
			if job.LastError == nil || !strings.Contains(*job.LastError, word) {
				t.Errorf("%v does not say %q", *job.LastError, word)
			}
		}
	}
	f.wantState(running, Running)
	f.wantState(never, Queued)
	f.wantConsistent()
	f.exec(`update upstreams set state = 'closed', reason = null where name = $1`, gpt5)
	turn := f.inState(Queued, w)
	f.expire()
	must[int](f)(f.Expire(t.Context()))
	if job := f.wantState(turn, Failed); !strings.Contains(*job.LastError, "its turn on "+gpt5) {
		t.Error(*job.LastError)
	}
}

func TestCompactKeepsTheSums(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	for range 5 {
		f.inState(Done, w)
		f.inState(Failed, w)
		must[Job](f)(f.Retry(t.Context(), DefaultTenant, f.inState(Cancelled, w)))
		must[Job](f)(f.Cancel(t.Context(), DefaultTenant, f.claimOne(w).ID))
	}
	before := must[Counts](f)(f.Counts(t.Context(), ""))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if _, err := f.Compact(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	must[int](f)(f.Compact(t.Context()))
	if after := must[Counts](f)(f.Counts(t.Context(), "")); after != before {
		t.Errorf("from %+v to %+v", before, after)
	}
	if n := one[int](f, `select count(*) from ended_counts`); n != 3 {
		t.Errorf("%d rows are left; want one a state", n)
	}
	f.wantConsistent()
}

// However many tenants have deltas, and however many deltas came since the last time, few rows are left.
func TestCompactKeepsUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into ended_counts select 't' || i % 1500, 'done', 1 from generate_series(1, $1::int) i`, compactSize*3/2)
	if n := must[int](f)(f.Compact(t.Context())); n != compactSize*3/2-1500 {
		t.Errorf("%d rows fewer", n)
	}
	if n := one[int](f, `select count(*) from ended_counts`); n != 1500 {
		t.Errorf("%d rows are left; want one a tenant", n)
	}
	if c := must[Counts](f)(f.Counts(t.Context(), "")); c.Done != compactSize*3/2 {
		t.Errorf("%d are done", c.Done)
	}
}

func TestRepairPutsBackWhatIsMissing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.chats(sweepSize + 10)
	f.add(NewJob{Type: "patient", Payload: prompt, Delay: new(time.Hour)})
	repair := func() (found, slices int) {
		for after := uuid.Nil; ; {
			next, n, err := f.Repair(t.Context(), after)
			if err != nil {
				t.Fatal(err)
			}
			if found += n; next == uuid.Nil {
				return found, slices
			}
			after = next
			slices++
		}
	}
	if found, slices := repair(); found != 0 || slices != 2 {
		t.Errorf("found %d in %d slices of a sound queue", found, slices)
	}
	f.exec(`delete from ready where seq % 100 = 0`)
	f.exec(`delete from delayed`)
	if found, _ := repair(); found != 11 {
		t.Errorf("found %d; want 11", found)
	}
	f.wantConsistent()
}

func TestRescue(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	dead, alive, hangs := f.join("dead"), f.join("alive"), f.join("hangs")
	lost := f.inState(Running, dead)
	last := f.add(NewJob{Type: "chat", Payload: prompt, MaxAttempts: new(1)})[0]
	f.claimOne(dead)
	cancelled := f.inState(Running, dead)
	must[Job](f)(f.Cancel(t.Context(), DefaultTenant, cancelled))
	ended := f.inState(Done, dead)
	running := f.inState(Running, alive)
	overdue := f.inState(Running, hangs)
	stranger := f.inState(Running, f.join("deleted by hand"))
	f.exec(`delete from workers where id = 'deleted by hand'`)
	f.exec(`update claims set deadline_at = now() - interval '1 second', deadline_beat = 0 where worker = 'hangs'`)
	if !must[bool](f)(f.Bury(t.Context(), dead, 0)) {
		t.Fatal("not buried")
	}
	if n := must[int](f)(f.Rescue(t.Context())); n != 4 {
		t.Errorf("rescued %d; want 4", n)
	}
	if job := f.wantState(lost, Queued); job.Attempts != 1 || !strings.Contains(*job.LastError, dead) {
		t.Errorf("rescued as %+v", job)
	}
	f.wantOutcomes(lost, "1 lost charged")
	if job := f.wantState(last, Failed); job.LastError == nil || job.Attempts != 1 || job.FinishedAt == nil {
		t.Errorf("the last try ended as %+v", job)
	}
	f.wantState(cancelled, Cancelled)
	f.wantOutcomes(cancelled, "1 cancelled")
	f.wantOutcomes(ended, "1 ok charged")
	f.wantState(running, Running)
	f.wantState(overdue, Queued)
	f.wantState(stranger, Queued)
	if n := must[int](f)(f.Rescue(t.Context())); n != 0 {
		t.Errorf("rescued %d again", n)
	}
	for table, want := range map[string]int{"claims": 1, "cancels": 0} {
		if n := one[int](f, "select count(*) from "+table); n != want {
			t.Errorf("%d rows are left in %s; want %d", n, table, want)
		}
	}
	f.wantConsistent()
}

// Jobs with time-outs of their own are in one claim: each has its own deadline.
func TestRescueGoesByEachDeadline(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ids := f.add(NewJob{Type: "chat", Payload: prompt}, NewJob{Type: "patient", Payload: prompt}, NewJob{Type: "chat", Payload: prompt})
	f.claim(f.join("w"), 3)
	f.exec(`update claims set deadline_at = deadline_at - interval '10 minutes', deadline_beat = deadline_beat - 200`)
	if n := must[int](f)(f.Rescue(t.Context())); n != 2 {
		t.Errorf("rescued %d; want the two of a minute", n)
	}
	f.wantState(ids[0], Queued)
	f.wantState(ids[1], Running)
	f.wantState(ids[2], Queued)
	f.wantConsistent()
}

// A clock that is set forward by a day is past every deadline, while the workers are calling: they have beaten twice.
func TestAClockThatIsSetForwardLosesNoJobs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	f.chats(1)
	job := f.claimOne(w)
	beat := func(times int) {
		for range times {
			must[bool](f)(f.Beat(f.Context(), w))
		}
	}
	beat(2)
	f.exec(`update claims set deadline_at = deadline_at - interval '1 day'`)
	if n := must[int](f)(f.Rescue(f.Context())); n != 0 || f.look(w).Lost {
		t.Errorf("rescued %d jobs of a worker that lives", n)
	}
	f.wantState(job.ID, Running)
	beat(23) // a minute, and the grace: it hangs
	if !f.look(w).Lost || must[int](f)(f.Rescue(f.Context())) != 1 {
		t.Error("the job of a worker that hangs is not rescued")
	}
	f.wantState(job.ID, Queued)
	f.wantConsistent()
}

// The claim of a worker's former lease is past its deadline, and the same worker runs the job again by a later one: only the
// lease's number tells that there is nothing to rescue.
func TestRescueLeavesALaterLeaseOfTheSameWorkerAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	f.chats(1)
	first := f.claimOne(w)
	f.end(w, End{JobID: first.ID, Lease: first.Lease, Outcome: Interrupted, State: Queued, Error: "the reply to the claim was lost"})
	f.exec(`update claims set deadline_at = now() - interval '1 second', deadline_beat = 0`)
	second := f.claimOne(w)
	if n := must[int](f)(f.Rescue(t.Context())); n != 0 {
		t.Errorf("rescued %d jobs", n)
	}
	f.wantState(first.ID, Running)
	f.end(w, ok(second))
	f.wantState(first.ID, Done)
	f.wantOutcomes(first.ID, "1 interrupted", "2 ok charged")
	f.wantConsistent()
}

// Narrow rows that a bug or a hand left behind move no job that is not where they say.
func TestSweepsLeaveARunningJobAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	f.chats(1)
	job := f.claimOne(w)
	f.exec(`update jobs set scheduled_at = now() - interval '1 minute'`)
	f.exec(`insert into delayed (due_at, job_id, tenant, line, expires_at)
		select now() - interval '1 second', id, tenant, coalesce(upstream, type), now() + interval '1 hour' from jobs`)
	must[int](f)(f.Promote(t.Context()))
	f.wantState(job.ID, Running)
	f.exec(`insert into ready (line, priority, seq, job_id, tenant, type, since, expires_at)
		select coalesce(upstream, type), priority, seq, id, tenant, type, created_at, now() - interval '1 second' from jobs`)
	must[int](f)(f.Expire(t.Context()))
	f.wantState(job.ID, Running)
	f.end(w, ok(job))
	f.wantState(job.ID, Done)
	f.wantOutcomes(job.ID, "1 ok charged")
	f.wantConsistent()
}

// The cancel of a job of a buried worker leaves nothing that nobody will ever read.
func TestCancelOfADeadWorkersJob(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := f.inState(Running, f.join("w"))
	must[bool](f)(f.Bury(t.Context(), "w", 0))
	must[Job](f)(f.Cancel(t.Context(), DefaultTenant, id))
	must[int](f)(f.Rescue(t.Context()))
	if n := one[int](f, "select count(*) from cancels"); n != 0 {
		t.Errorf("%d cancels are left", n)
	}
	f.wantOutcomes(id, "1 cancelled")
}

func TestBuryOnlyWhoseBeatWasSeen(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	if !must[bool](f)(f.Beat(t.Context(), w)) {
		t.Error("a living worker's beat was refused")
	}
	if beats := f.look(w).Beats; beats[w] != 1 {
		t.Errorf("beats are %v", beats)
	}
	if must[bool](f)(f.Bury(t.Context(), w, 0)) {
		t.Error("buried a worker that beat meanwhile")
	}
	if !must[bool](f)(f.Bury(t.Context(), w, 1)) || must[bool](f)(f.Bury(t.Context(), w, 1)) {
		t.Error("a worker is buried once")
	}
	if must[bool](f)(f.Beat(t.Context(), w)) {
		t.Error("a buried worker's beat was taken")
	}
	f.join(w)
	if err := f.Leave(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if beats := f.look(w).Beats; len(beats) != 0 {
		t.Errorf("beats are %v", beats)
	}
}

// The oldest claims of a worker that died are those that it had not forgotten yet, though their jobs have ended.
func TestRescueGoesOnBehindClaimsWhoseJobsHaveEnded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	dead := f.join("dead")
	for range 2*rescueSize + 1 {
		f.inState(Done, dead)
	}
	lost := f.inState(Running, dead)
	if !must[bool](f)(f.Bury(t.Context(), dead, 0)) {
		t.Fatal("not buried")
	}
	if n := must[int](f)(f.Rescue(t.Context())); n != 1 {
		t.Errorf("rescued %d; want 1", n)
	}
	f.wantState(lost, Queued)
	if n := one[int](f, "select count(*) from claims"); n != 0 {
		t.Errorf("%d claims are left", n)
	}
}

// A failed job that an UPDATE by hand queued again left its row in ended, as does a process of a version that did not know
// of that table. It ends like any other: else it would keep those from ending that share its statement.
func TestAJobEndsThoughAnUpdateByHandLeftItsRow(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(f fixture, id uuid.UUID) (State, error){
		"end": func(f fixture, id uuid.UUID) (State, error) {
			j := f.claimOne(f.join("w"))
			_, err := f.End(t.Context(), "w", End{JobID: id, Lease: j.Lease, Outcome: Rejected, Charged: true, State: Failed, Error: "no"})
			return Failed, err
		},
		"cancel": func(f fixture, id uuid.UUID) (State, error) {
			_, err := f.Cancel(t.Context(), DefaultTenant, id)
			return Cancelled, err
		},
		"expire": func(f fixture, id uuid.UUID) (State, error) {
			f.exec(`update ready set expires_at = now()`)
			_, err := f.Expire(t.Context())
			return Failed, err
		},
		"expire while delayed": func(f fixture, id uuid.UUID) (State, error) {
			j := f.claimOne(f.join("w"))
			f.end("w", End{JobID: id, Lease: j.Lease, Outcome: Error, State: Delayed, Delay: time.Hour})
			f.exec(`update delayed set expires_at = now()`)
			_, err := f.Expire(t.Context())
			return Failed, err
		},
		"rescue": func(f fixture, id uuid.UUID) (State, error) {
			f.exec(`update jobs set max_attempts = 1`)
			f.claimOne(f.join("w"))
			f.exec(`delete from workers`)
			_, err := f.Rescue(t.Context())
			return Failed, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			id := f.chats(1)[0]
			f.exec(`insert into ended (tenant, state, job_id) values ('default', 'failed', $1), ('default', 'cancelled', $1)`, id)
			want, err := end(f, id)
			if err != nil {
				t.Fatal(err)
			}
			f.wantState(id, want)
		})
	}
}

// Ends and rescues of the same jobs, in whatever order they lock: no error comes out.
func TestEndAgainstRescue(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const n, rounds = 60, 5
	for round := range rounds {
		w := f.join(fmt.Sprint("w", round))
		f.chats(n)
		jobs := f.claim(w, n)
		ends := of(jobs, ok)
		slices.Reverse(ends)
		must[bool](f)(f.Bury(t.Context(), w, 0))
		var both sync.WaitGroup
		both.Go(func() {
			if _, err := f.End(t.Context(), w, ends...); err != nil {
				t.Error(err)
			}
		})
		both.Go(func() {
			if _, err := f.Rescue(t.Context()); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		f.wantConsistent()
		for _, j := range f.claim("w", n) {
			must[Job](f)(f.Cancel(t.Context(), DefaultTenant, j.ID))
		}
	}
}

// What docs/operations.md has an operator run: old jobs go with all that is kept of them, and lists and counts stay true.
func TestOldJobsAreDeletedAsTheManualSays(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, sql, found := strings.Cut(string(manual), "```sql\n")
	sql, _, ends := strings.Cut(sql, "```")
	if !found || !ends {
		t.Fatal("the manual has no such statement")
	}
	f := newFixture(t)
	w := f.join("w")
	for _, s := range []State{Done, Failed, Cancelled, Running, Delayed} {
		f.inState(s, w)
	}
	f.exec(`update jobs set created_at = created_at - interval '91 days', finished_at = finished_at - interval '91 days'`)
	for _, s := range []State{Done, Failed, Cancelled} {
		f.inState(s, w)
	}
	for _, want := range []int{3, 0} {
		if n := one[int](f, sql); n != want {
			t.Errorf("%d jobs were deleted, want %d", n, want)
		}
	}
	f.wantConsistent()
	if jobs, orphans := one[int](f, `select count(*) from jobs`), one[int](f, `select count(*) from attempts where job_id not in (select id from jobs)`); jobs != 5 || orphans > 0 {
		t.Errorf("%d jobs are left, want 5, and %d attempts of none", jobs, orphans)
	}
}
