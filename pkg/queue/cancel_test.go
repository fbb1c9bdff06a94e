package queue

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
)

// inState makes a job of type chat and takes it to a state.
func (f fixture) inState(s State, w string) uuid.UUID {
	f.Helper()
	if s == Delayed {
		return f.add(NewJob{Type: "patient", Payload: prompt, Delay: new(time.Hour)})[0]
	}
	id := f.add(NewJob{Type: "patient", Payload: prompt})[0]
	switch s {
	case Queued:
		return id
	case Cancelled:
		must[Job](f)(f.Cancel(f.Context(), DefaultTenant, id))
		return id
	}
	j := f.claimOne(w)
	if j.ID != id {
		f.Fatalf("claimed %s instead of %s", j.ID, id)
	}
	switch s {
	case Done:
		f.end(w, ok(j))
	case Failed:
		f.end(w, End{JobID: id, Lease: j.Lease, Outcome: Rejected, Charged: true, State: Failed, Error: "bad"})
	}
	return id
}

func TestCancelAndRetryInEveryState(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	for _, s := range []State{Delayed, Running, Done, Failed, Cancelled, Queued} {
		id := f.inState(s, w)
		job, err := f.Cancel(t.Context(), DefaultTenant, id)
		var conflict *Conflict
		switch {
		case s.Ended() && (!errors.As(err, &conflict) || conflict.State != s):
			t.Errorf("cancel of a %s job: %v", s, err)
		case !s.Ended() && (err != nil || job.State != Cancelled || job.FinishedAt == nil):
			t.Errorf("cancel of a %s job: %v, %+v", s, err, job)
		}
		f.wantConsistent()
	}
	for _, s := range []State{Delayed, Running, Done, Failed, Cancelled, Queued} {
		id := f.inState(s, w)
		before := f.get(id)
		job, err := f.Retry(t.Context(), DefaultTenant, id)
		var conflict *Conflict
		if s != Failed && s != Cancelled {
			if !errors.As(err, &conflict) || conflict.State != s {
				t.Errorf("retry of a %s job: %v", s, err)
			}
		} else if err != nil || job.State != Queued || job.Attempts != 0 || job.Lease != before.Lease || job.FinishedAt != nil ||
			job.ScheduledAt != nil || !job.ExpiresAt.After(*before.ExpiresAt) || job.seq <= before.seq {
			t.Errorf("retry of a %s job: %v, %+v", s, err, job)
		}
		f.wantConsistent()
	}
	for verb, do := range map[string]func() (Job, error){
		"cancel": func() (Job, error) { return f.Cancel(t.Context(), "acme", f.inState(Queued, w)) },
		"retry":  func() (Job, error) { return f.Retry(t.Context(), "acme", f.inState(Cancelled, w)) },
		"none":   func() (Job, error) { return f.Cancel(t.Context(), DefaultTenant, uuid.New()) },
	} {
		if _, err := do(); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v; want ErrNotFound", verb, err)
		}
	}
}

func TestRetryAfterEveryAttemptWasUsed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	id := f.add(NewJob{Type: "chat", Payload: prompt, MaxAttempts: new(1)})[0]
	for range 2 {
		j := f.claimOne(w)
		f.end(w, End{JobID: id, Lease: j.Lease, Outcome: Error, Charged: true, State: Failed, Error: "500"})
		if job := f.wantState(id, Failed); job.Attempts != 1 {
			t.Errorf("%d attempts", job.Attempts)
		}
		must[Job](f)(f.Retry(t.Context(), DefaultTenant, id))
	}
	f.wantOutcomes(id, "1 error charged", "2 error charged")
	f.wantConsistent()
}

// A claim is under way when the cancel comes: the cancel waits, and cancels a running job.
func TestCancelWaitsForAClaim(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	id := f.chats(1)[0]
	tx := f.begin()
	if jobs, err := f.With(tx).Claim(t.Context(), claimOf(w, 1)); err != nil || len(jobs) != 1 {
		t.Fatal(jobs, err)
	}
	done := make(chan error, 1)
	go func() { _, err := f.Cancel(t.Context(), DefaultTenant, id); done <- err }()
	f.blocked(1)
	f.commit(tx)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if job := f.wantState(id, Cancelled); job.Lease != 2 {
		t.Errorf("lease %d; want 2", job.Lease)
	}
	if told := f.look(w).Cancels; len(told) != 1 {
		t.Errorf("the worker was told %v", told)
	}
	f.wantConsistent()
}

// Somebody else changes the job whenever the cancel has looked where it is: the cancel gives up, and has changed nothing.
func TestCancelGivesUpOnAJobThatKeepsChanging(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := f.chats(1)[0]
	f.exec(`create sequence tries`) // a rollback leaves it alone
	f.exec(`create function move() returns trigger language plpgsql as $$ begin
		perform nextval('tries');
		update jobs set seq = seq + 1 where id = old.job_id;
		return null;
	end $$`)
	f.exec(`create trigger move after delete on ready for each row execute function move()`)
	if _, err := f.Cancel(t.Context(), DefaultTenant, id); !errors.Is(err, ErrMoved) {
		t.Errorf("%v; want ErrMoved", err)
	}
	if n := one[int](f, `select last_value from tries`); n != cancelTries {
		t.Errorf("%d tries; want %d", n, cancelTries)
	}
	f.wantState(id, Queued)
	f.wantConsistent()
	f.exec(`drop trigger move on ready`)
	must[Job](f)(f.Cancel(t.Context(), DefaultTenant, id))
}

// A cancel is under way when the claim comes: the claim waits for nobody and takes nothing.
func TestClaimPassesACancelBy(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	id := f.chats(1)[0]
	tx := f.begin()
	if _, err := f.With(tx).Cancel(t.Context(), DefaultTenant, id); err != nil {
		t.Fatal(err)
	}
	if jobs := f.claim(w, 1); len(jobs) != 0 {
		t.Errorf("claimed %v", jobs)
	}
	f.commit(tx)
	f.wantState(id, Cancelled)
	f.wantConsistent()
}

// The attempt ends while the cancel waits for it: whatever narrow row the job has by then goes with it.
func TestCancelWhileTheAttemptEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end  End
		want State
	}{
		"queued":  {End{Outcome: Interrupted, State: Queued, Error: "x"}, Cancelled},
		"delayed": {End{Outcome: RateLimited, State: Delayed, Delay: time.Hour, Error: "x"}, Cancelled},
		"done":    {End{Outcome: OK, Charged: true, State: Done, Result: prompt}, Done},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			w := f.join("w")
			id := f.chats(1)[0]
			j := f.claimOne(w)
			tx := f.begin()
			c.end.JobID, c.end.Lease = id, j.Lease
			if _, err := f.With(tx).End(t.Context(), w, c.end); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { _, err := f.Cancel(t.Context(), DefaultTenant, id); done <- err }()
			f.blocked(1)
			f.commit(tx)
			err := <-done
			var conflict *Conflict
			if (c.want == Cancelled) != (err == nil) || err != nil && !errors.As(err, &conflict) {
				t.Error(err)
			}
			f.wantState(id, c.want)
			f.wantConsistent()
		})
	}
}

// The worker's end and the cancel, the other way round: the end waits, and ends the attempt as cancelled.
func TestEndWaitsForACancel(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	id := f.chats(1)[0]
	j := f.claimOne(w)
	tx := f.begin()
	if _, err := f.With(tx).Cancel(t.Context(), DefaultTenant, id); err != nil {
		t.Fatal(err)
	}
	done := make(chan []uuid.UUID, 1)
	go func() {
		held, err := f.End(t.Context(), w, ok(j))
		if err != nil {
			t.Error(err)
		}
		done <- held
	}()
	f.blocked(1)
	f.commit(tx)
	if held := <-done; len(held) != 0 {
		t.Errorf("held %v", held)
	}
	f.wantState(id, Cancelled)
	f.wantOutcomes(id, "1 cancelled")
	f.wantConsistent()
}
