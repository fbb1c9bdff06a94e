package queue

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// TestAnyOrderOfOperations does what nobody planned, and looks after each step whether the tables still agree: see
// inconsistencies. What each operation should do is told by the jobs themselves, before and after it.
func TestAnyOrderOfOperations(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	workers := []string{"a", "b", "c"}
	rapid.Check(t, func(r *rapid.T) {
		f := fixture{failing{t, r}, f.db, f.Queue}
		f.exec(`truncate jobs, attempts, ready, delayed, claims, cancels, ended, ended_counts, workers`)
		for _, w := range workers {
			f.join(w)
		}
		var leases []held
		pick := func(r *rapid.T) uuid.UUID {
			ids := one[[]uuid.UUID](f, `select coalesce(array_agg(id order by id), '{}') from jobs`)
			if len(ids) == 0 {
				r.Skip("no jobs")
			}
			return rapid.SampledFrom(ids).Draw(r, "job")
		}
		tolerate := func(_ Job, err error) {
			if _, conflict := err.(*Conflict); err != nil && !conflict {
				r.Fatal(err)
			}
		}
		worker := rapid.SampledFrom(workers)
		r.Repeat(map[string]func(*rapid.T){
			"enqueue": func(r *rapid.T) {
				f.chats(rapid.IntRange(1, 3).Draw(r, "n"))
				f.add(NewJob{Type: "patient", Payload: prompt, Priority: new(rapid.IntRange(1, 10).Draw(r, "priority")), MaxAttempts: new(1)})
				f.add(NewJob{Type: "patient", Payload: prompt, Delay: new(time.Hour)})
			},
			"claim": func(r *rapid.T) {
				w := worker.Draw(r, "worker")
				for _, j := range f.claim(w, rapid.IntRange(1, 4).Draw(r, "limit")) {
					leases = append(leases, held{w, j})
				}
			},
			"end": func(r *rapid.T) {
				if len(leases) == 0 {
					r.Skip("no leases")
				}
				l := rapid.SampledFrom(leases).Draw(r, "lease") // it may be over: the fence has to hold
				before := f.get(l.job.ID)
				e := rapid.SampledFrom([]End{
					{Outcome: OK, Charged: true, State: Done, Result: prompt},
					{Outcome: Rejected, Charged: true, State: Failed, Error: "bad"},
					{Outcome: Error, Charged: true, State: Delayed, Delay: time.Minute, Error: "500"},
					{Outcome: RateLimited, State: Delayed, Delay: time.Minute, Error: "429"},
					{Outcome: Held, State: Queued, Error: "402", Behind: true},
					{Outcome: Interrupted, State: Queued, Error: "stop"},
				}).Draw(r, "end")
				if e.Outcome == Error && before.Attempts+1 >= before.MaxAttempts {
					e.State = Failed
				}
				e.JobID, e.Lease = l.job.ID, l.job.Lease
				mine := before.State == Running && *before.Worker == l.worker && before.Lease == l.job.Lease
				changed := len(f.end(l.worker, e)) == 1
				after := f.get(l.job.ID)
				if changed != mine || !mine && (after.State != before.State || after.Lease != before.Lease || after.Attempts != before.Attempts) || mine && after.State != e.State {
					r.Fatalf("an end of lease %d by %s took %+v to %+v", l.job.Lease, l.worker, before, after)
				}
			},
			"cancel":  func(r *rapid.T) { tolerate(f.Cancel(f.Context(), DefaultTenant, pick(r))) },
			"retry":   func(r *rapid.T) { tolerate(f.Retry(f.Context(), DefaultTenant, pick(r))) },
			"promote": func(*rapid.T) { f.due(); must[int](f)(f.Promote(f.Context())) },
			"expire":  func(*rapid.T) { f.expire(); must[int](f)(f.Expire(f.Context())) },
			"compact": func(*rapid.T) { must[int](f)(f.Compact(f.Context())) },
			"look":    func(r *rapid.T) { f.look(worker.Draw(r, "worker")) },
			"overtime": func(*rapid.T) {
				f.exec(`update claims set deadline_at = deadline_at - interval '2 hours', deadline_beat = 0`)
				must[int](f)(f.Rescue(f.Context()))
			},
			"die": func(r *rapid.T) {
				w := worker.Draw(r, "worker")
				if !must[bool](f)(f.Bury(f.Context(), w, 0)) {
					r.Fatal("not buried")
				}
				must[int](f)(f.Rescue(f.Context()))
				if n := one[int](f, `select count(*) from jobs where worker = $1`, w); n != 0 {
					r.Fatalf("%d jobs of the dead are still its own", n)
				}
				f.join(w)
			},
			"": func(r *rapid.T) {
				if _, found, err := f.Repair(f.Context(), uuid.Nil); err != nil || found != 0 {
					r.Fatalf("repair found %d, %v", found, err)
				}
				f.wantConsistent()
				for _, wrong := range one[[]string](f, `select coalesce(array_agg(id || ' has ' || attempts || ' of ' || charged), '{}') from (
					select j.id, j.attempts, count(*) filter (where a.charged) as charged, bool_or(a.number > j.lease) as ahead
					from jobs j left join attempts a on a.job_id = j.id group by j.id) s
					where attempts > charged or ahead`) {
					r.Error(wrong) // after a retry by hand fewer count; more never do
				}
				if r.Failed() {
					r.FailNow()
				}
			},
		})
	})
}

// held is a lease that a worker once had.
type held struct {
	worker string
	job    Claimed
}

// failing is the test whose failures rapid sees, so that it can look for a shorter story.
type failing struct {
	testing.TB
	r *rapid.T
}

func (f failing) Helper()                   {}
func (f failing) Error(args ...any)         { f.r.Error(args...) }
func (f failing) Errorf(s string, a ...any) { f.r.Errorf(s, a...) }
func (f failing) Fatal(args ...any)         { f.r.Fatal(args...) }
func (f failing) Fatalf(s string, a ...any) { f.r.Fatalf(s, a...) }
