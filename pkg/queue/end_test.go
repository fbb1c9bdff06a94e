package queue

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestEndOfEachKind(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	for name, c := range map[string]struct {
		end      End
		state    State
		attempts int
		outcome  string
	}{
		"ok":           {End{Outcome: OK, Charged: true, State: Done, Result: json.RawMessage(`{"a":1e2}`), Status: 200, RequestID: "r", InputTokens: new(int64(7)), OutputTokens: new(int64(9))}, Done, 1, "1 ok charged"},
		"rate limited": {End{Outcome: RateLimited, State: Delayed, Delay: time.Hour, Status: 429, Error: "slow", RetryAfter: 3 * time.Second}, Delayed, 0, "1 rate_limited"},
		"rejected":     {End{Outcome: Rejected, Charged: true, State: Failed, Error: "bad", Status: 400}, Failed, 1, "1 rejected charged"},
		"held":         {End{Outcome: Held, State: Queued, Error: "no credit"}, Queued, 0, "1 held"},
		"error":        {End{Outcome: Error, Charged: true, State: Delayed, Delay: time.Minute, Error: "500"}, Delayed, 1, "1 error charged"},
		"interrupted":  {End{Outcome: Interrupted, State: Queued, Error: "stop"}, Queued, 0, "1 interrupted"},
	} {
		before := f.chats(1)[0]
		j := f.claimOne(w)
		e := c.end
		e.JobID, e.Lease = j.ID, j.Lease
		if held := f.end(w, e); j.ID != before || !slices.Equal(held, []uuid.UUID{j.ID}) {
			t.Errorf("%s: held %v", name, held)
		}
		job := f.wantState(j.ID, c.state)
		if job.Attempts != c.attempts || job.Worker != nil || job.DeadlineAt != nil || (job.FinishedAt != nil) != c.state.Ended() || string(job.Result) != string(e.Result) {
			t.Errorf("%s: %+v", name, job)
		}
		if c.state == Delayed && !job.ScheduledAt.Equal(job.UpdatedAt.Add(e.Delay)) {
			t.Errorf("%s: scheduled at %v, updated at %v", name, job.ScheduledAt, job.UpdatedAt)
		}
		if (job.HeldAt != nil) != (e.Outcome == Held) || (e.Error != "" && (job.LastError == nil || *job.LastError != e.Error)) {
			t.Errorf("%s: held at %v, last error %v", name, job.HeldAt, job.LastError)
		}
		f.wantOutcomes(j.ID, c.outcome)
		a := f.attempts(j.ID)[0]
		if a.FinishedAt == nil || *a.Upstream != gpt5 || a.Worker != w || (e.Status > 0 && *a.Status != e.Status) || (e.RetryAfter > 0 && *a.RetryAfterMS != 3000) ||
			(e.RequestID != "" && *a.RequestID != e.RequestID) || (e.InputTokens != nil && (*a.InputTokens != 7 || *a.OutputTokens != 9)) {
			t.Errorf("%s: attempt %+v", name, a)
		}
		f.wantConsistent()
		if !c.state.Ended() {
			must[Job](f)(f.Cancel(t.Context(), DefaultTenant, j.ID))
		}
	}
}

func TestEndTwiceIsSafe(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	f.chats(1)
	j := f.claimOne(w)
	f.end(w, ok(j))
	before := f.get(j.ID)
	late := End{JobID: j.ID, Lease: j.Lease, Outcome: Error, Charged: true, State: Failed, Error: "late"}
	if held := f.end(w, ok(j)); len(held) != 0 {
		t.Errorf("held %v the second time", held)
	}
	f.end(w, late)
	f.end("another", ok(j))
	if after := f.get(j.ID); !after.UpdatedAt.Equal(before.UpdatedAt) || after.State != Done {
		t.Errorf("changed from %+v to %+v", before, after)
	}
	f.wantOutcomes(j.ID, "1 ok charged")
	f.wantConsistent()
}

func TestEndOfALateWorkerChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	slow, quick := f.join("slow"), f.join("quick")
	f.chats(1)
	first := f.claimOne(slow)
	if !must[bool](f)(f.Bury(t.Context(), slow, 0)) || must[int](f)(f.Rescue(t.Context())) != 1 {
		t.Fatal("the slow worker's job was not rescued")
	}
	second := f.claimOne(quick)
	if second.ID != first.ID || second.Lease != 2 || second.Attempts != 1 {
		t.Fatalf("claimed again as %+v", second)
	}
	if held := f.end(slow, ok(first)); len(held) != 0 {
		t.Errorf("the late worker held %v", held)
	}
	if held := f.end(slow, ok(second)); len(held) != 0 {
		t.Errorf("the late worker held %v with the other's lease", held)
	}
	if job := f.wantState(first.ID, Running); *job.Worker != quick {
		t.Errorf("runs on %s", *job.Worker)
	}
	f.wantOutcomes(first.ID, "1 lost charged", "2 running")
	f.end(quick, ok(second))
	if job := f.wantState(first.ID, Done); job.Attempts != 2 {
		t.Errorf("%d attempts are charged; want 2", job.Attempts)
	}
	f.wantOutcomes(first.ID, "1 lost charged", "2 ok charged")
	f.wantConsistent()
}

// A worker gives a job back and claims it again; then comes the end of its former lease, repeated after an unclear answer. The
// worker is the right one, and only the lease's number tells that it is not the job's any more.
func TestEndOfTheSameWorkersFormerLeaseChangesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	f.chats(1)
	first := f.claimOne(w)
	f.end(w, End{JobID: first.ID, Lease: first.Lease, Outcome: Interrupted, State: Queued, Error: "the reply to the claim was lost"})
	second := f.claimOne(w)
	if second.ID != first.ID || second.Lease != 2 {
		t.Fatalf("claimed again as %+v", second)
	}
	if held := f.end(w, ok(first)); len(held) != 0 {
		t.Errorf("held %v by the former lease", held)
	}
	f.wantState(first.ID, Running)
	f.wantOutcomes(first.ID, "1 interrupted", "2 running")
	f.end(w, ok(second))
	f.wantState(first.ID, Done)
	f.wantOutcomes(first.ID, "1 interrupted", "2 ok charged")
	f.wantConsistent()
}

func TestCancelWhileRunning(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	f.chats(1)
	j := f.claimOne(w)
	job := must[Job](f)(f.Cancel(t.Context(), DefaultTenant, j.ID))
	if job.State != Cancelled || job.Lease != 2 || job.Worker != nil || job.FinishedAt == nil {
		t.Errorf("cancelled as %+v", job)
	}
	f.wantOutcomes(j.ID, "1 running")
	if told := f.look(w).Cancels; !slices.Equal(told, []Lease{{j.ID, 1}}) {
		t.Errorf("the worker was told %v", told)
	}
	if told := f.look(w).Cancels; len(told) != 0 {
		t.Errorf("the worker was told again: %v", told)
	}
	late := ok(j)
	late.InputTokens, late.OutputTokens = new(int64(3)), new(int64(4))
	if held := f.end(w, late); len(held) != 0 {
		t.Errorf("held %v", held)
	}
	f.wantState(j.ID, Cancelled)
	f.wantOutcomes(j.ID, "1 cancelled")
	if a := f.attempts(j.ID)[0]; *a.InputTokens != 3 || *a.OutputTokens != 4 || a.Charged {
		t.Errorf("the usage of the cancelled call is lost: %+v", a)
	}
	f.wantConsistent()
}

// The late end of a cancelled attempt and the end of the job's next life come in one batch of the same worker.
func TestEndOfTwoLeasesOfOneJob(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	f.chats(1)
	first := f.claimOne(w)
	must[Job](f)(f.Cancel(t.Context(), DefaultTenant, first.ID))
	must[Job](f)(f.Retry(t.Context(), DefaultTenant, first.ID))
	second := f.claimOne(w)
	f.end(w, ok(first), ok(second))
	f.wantState(first.ID, Done)
	f.wantOutcomes(first.ID, "1 cancelled", "3 ok charged")
	f.wantConsistent()
}

func TestRescueOfTwoLeasesOfOneJob(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	f.chats(1)
	first := f.claimOne(w)
	must[Job](f)(f.Cancel(t.Context(), DefaultTenant, first.ID))
	must[Job](f)(f.Retry(t.Context(), DefaultTenant, first.ID))
	f.claimOne(w)
	must[bool](f)(f.Bury(t.Context(), w, 0))
	must[int](f)(f.Rescue(t.Context()))
	f.wantState(first.ID, Queued)
	f.wantOutcomes(first.ID, "1 cancelled", "3 lost charged")
	f.wantConsistent()
}

func TestEndKeepsTheOthersOfAPoisonedBatch(t *testing.T) {
	t.Parallel()
	for name, poison := range map[string]func(*End){
		"no JSON":          func(e *End) { e.Result = json.RawMessage(`{"a":`) },
		"invalid UTF-8":    func(e *End) { e.Result = json.RawMessage("\"\xff\"") },
		"NUL in a text":    func(e *End) { e.Error = "a\x00b" },
		"bad request id":   func(e *End) { e.RequestID = "\xff" },
		"too deep":         func(e *End) { e.Result = json.RawMessage(strings.Repeat("[", 100000) + strings.Repeat("]", 100000)) },
		"no result":        func(e *End) { e.Result = nil },
		"a delay of years": func(e *End) { e.State, e.Delay = Delayed, 1<<62 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			w := f.join("w")
			f.chats(100)
			jobs := f.claim(w, 100)
			ends := of(jobs, ok)
			ends[42].InputTokens = new(int64(5))
			poison(&ends[42])
			if held := f.end(w, ends...); len(held) != 100 {
				t.Errorf("held %d; want 100", len(held))
			}
			if n := one[int](f, `select count(*) from jobs where state = 'done'`); n != 99 && name != "a delay of years" {
				t.Errorf("%d jobs are done; want 99", n)
			}
			if name == "a delay of years" {
				return // Postgres counts 292 years on: no poison, but nothing that may stop the others either
			}
			job := f.wantState(jobs[42].ID, Failed)
			if job.LastError == nil || !strings.Contains(*job.LastError, "SQLSTATE") || job.Attempts != 1 {
				t.Errorf("failed as %+v", job)
			}
			if a := f.attempts(job.ID)[0]; *a.InputTokens != 5 {
				t.Errorf("the usage is lost: %+v", a)
			}
			f.wantConsistent()
		})
	}
}

// Whatever the worker says, more tries than allowed are never counted, and the batch is not refused for it.
func TestEndNeverChargesMoreThanAllowed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	f.add(NewJob{Type: "chat", Payload: prompt, MaxAttempts: new(1)})
	j := f.claimOne(w)
	f.end(w, End{JobID: j.ID, Lease: j.Lease, Outcome: Error, Charged: true, State: Queued, Error: "500"})
	j = f.claimOne(w)
	f.end(w, ok(j))
	if job := f.wantState(j.ID, Done); job.Attempts != 1 {
		t.Errorf("%d attempts", job.Attempts)
	}
}

func TestEndBehindItsEquals(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	ids := f.chats(3)
	j := f.claimOne(w)
	f.end(w, End{JobID: j.ID, Lease: j.Lease, Outcome: Held, State: Queued, Error: "x", Behind: true})
	if got := idsOf(f.claim(w, 3)); !slices.Equal(got, []uuid.UUID{ids[1], ids[2], ids[0]}) {
		t.Errorf("claimed %v; want %v behind", got, ids[0])
	}
	for _, id := range ids {
		f.end(w, End{JobID: id, Lease: f.get(id).Lease, Outcome: Interrupted, State: Queued, Error: "x"})
	}
	if got := idsOf(f.claim(w, 3)); !slices.Equal(got, []uuid.UUID{ids[1], ids[2], ids[0]}) {
		t.Errorf("claimed %v; want the old places", got)
	}
	f.wantConsistent()
}
