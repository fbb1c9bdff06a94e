package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	gpt5  = "openai:gpt-5"
	small = "openai:gpt-5-mini"

	patience = 2 * time.Minute // for an event that has to come
)

// prompt is the least payload that the built-in handler takes.
var prompt = json.RawMessage(`{"input":"hello"}`)

// fixture is a queue in a database of its own.
type fixture struct {
	testing.TB
	db *pgxpool.Pool
	*Queue
}

func newFixture(t testing.TB) fixture {
	t.Helper()
	types, err := jobtype.NewSet(
		jobtype.Type{Name: "chat", Upstream: "openai", Model: "gpt-5", Models: []string{"gpt-5-mini"}, Priority: 5, MaxAttempts: 3, Timeout: time.Minute},
		jobtype.Type{Name: "patient", Upstream: "openai", Model: "gpt-5", Priority: 5, MaxAttempts: 3, Timeout: time.Hour, MaxWait: time.Hour},
		jobtype.Type{Name: "paced", Upstream: "openai", Model: "gpt-5", Custom: true, Priority: 7, MaxAttempts: 3, Timeout: time.Minute},
		jobtype.Type{Name: "free", Custom: true, Priority: 5, MaxAttempts: 3, Timeout: time.Minute},
	)
	if err != nil {
		t.Fatal(err)
	}
	db := pgtest.New(t)
	f := fixture{t, db, New(db, types)}
	if err := f.Sync(t.Context(), 1, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	f.exec(`insert into upstreams (name, heard_at) values ($1, now()), ($2, now())`, gpt5, small)
	return f
}

func must[T any](f fixture) func(v T, err error) T {
	return func(v T, err error) T {
		f.Helper()
		if err != nil {
			f.Fatal(err)
		}
		return v
	}
}

func (f fixture) exec(sql string, args ...any) {
	f.Helper()
	if _, err := f.db.Exec(f.Context(), sql, args...); err != nil {
		f.Fatalf("%s: %v", sql, err)
	}
}

// begin opens a transaction that is rolled back with the test if it is still open by then.
func (f fixture) begin() pgx.Tx {
	f.Helper()
	tx, err := f.db.Begin(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

func (f fixture) commit(tx pgx.Tx) {
	f.Helper()
	if err := tx.Commit(f.Context()); err != nil {
		f.Fatal(err)
	}
}

// one reads a single value.
func one[T any](f fixture, sql string, args ...any) (v T) {
	f.Helper()
	if err := f.db.QueryRow(f.Context(), sql, args...).Scan(&v); err != nil {
		f.Fatalf("%s: %v", sql, err)
	}
	return v
}

func (f fixture) add(jobs ...NewJob) []uuid.UUID {
	f.Helper()
	made := must[[]Enqueued](f)(f.Enqueue(f.Context(), jobs...))
	ids := make([]uuid.UUID, len(made))
	for i, m := range made {
		ids[i] = m.ID
	}
	return ids
}

// chats enqueues n jobs of type chat.
func (f fixture) chats(n int) []uuid.UUID {
	f.Helper()
	return f.add(slices.Repeat([]NewJob{{Type: "chat", Payload: prompt}}, n)...)
}

func (f fixture) look(worker string) Sight {
	f.Helper()
	return must[Sight](f)(f.Look(f.Context(), worker))
}

func (f fixture) join(worker string) string {
	f.Helper()
	if err := f.Join(f.Context(), worker, []string{"chat", "patient", "paced", "free"}, nil, 10); err != nil {
		f.Fatal(err)
	}
	return worker
}

func claimOf(worker string, limit int) Claim {
	return Claim{
		ID: uuid.New(), Worker: worker, Line: gpt5, Types: []string{"chat", "patient", "paced"},
		Timeouts: []time.Duration{time.Minute, time.Hour, time.Minute}, Grace: 15 * time.Second, Beat: 3 * time.Second,
		Limit: limit, Gate: Gate{Upstream: gpt5},
	}
}

func (f fixture) claim(worker string, limit int) []Claimed {
	f.Helper()
	return must[[]Claimed](f)(f.Claim(f.Context(), claimOf(worker, limit)))
}

// claimOne claims a job that has to be there.
func (f fixture) claimOne(worker string) Claimed {
	f.Helper()
	jobs := f.claim(worker, 1)
	if len(jobs) != 1 {
		f.Fatalf("claimed %d jobs; want 1", len(jobs))
	}
	return jobs[0]
}

func (f fixture) end(worker string, ends ...End) []uuid.UUID {
	f.Helper()
	return must[[]uuid.UUID](f)(f.End(f.Context(), worker, ends...))
}

func ok(j Claimed) End {
	return End{JobID: j.ID, Lease: j.Lease, Outcome: OK, Charged: true, State: Done, Result: json.RawMessage(`{"output_text":"hi"}`)}
}

func (f fixture) get(id uuid.UUID) Job {
	f.Helper()
	return must[Job](f)(f.Get(f.Context(), DefaultTenant, id))
}

func (f fixture) attempts(id uuid.UUID) []Attempt {
	f.Helper()
	return must[[]Attempt](f)(f.Attempts(f.Context(), DefaultTenant, id))
}

// outcomes are a job's attempts in short: "1 ok charged".
func (f fixture) outcomes(id uuid.UUID) []string {
	f.Helper()
	var all []string
	for _, a := range f.attempts(id) {
		text := fmt.Sprintf("%d running", a.Number)
		if a.Outcome != nil {
			text = fmt.Sprintf("%d %s", a.Number, *a.Outcome)
		}
		if a.Charged {
			text += " charged"
		}
		all = append(all, text)
	}
	return all
}

func (f fixture) wantOutcomes(id uuid.UUID, want ...string) {
	f.Helper()
	if got := f.outcomes(id); !slices.Equal(got, want) {
		f.Errorf("attempts are %q; want %q", got, want)
	}
}

func (f fixture) wantState(id uuid.UUID, want State) Job {
	f.Helper()
	job := f.get(id)
	if job.State != want {
		f.Errorf("the job is %s; want %s", job.State, want)
	}
	return job
}

// blocked waits until n sessions of this database wait for a lock.
func (f fixture) blocked(n int) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), patience)
	defer cancel()
	for {
		var waiting int
		err := f.db.QueryRow(ctx, `select count(*) from pg_stat_activity
			where datname = current_database() and wait_event_type = 'Lock'`).Scan(&waiting)
		if err != nil {
			f.Fatalf("%d sessions never waited for a lock: %v", n, err)
		}
		if waiting >= n {
			return
		}
	}
}

// inconsistencies are what must be empty whatever happened: see each condition.
const inconsistencies = `
select 'queued job without its ready row: ' || id from jobs j where state = 'queued' and not exists (
    select from ready r where r.line = coalesce(j.upstream, j.type) and r.priority = j.priority and r.seq = j.seq and r.job_id = j.id
        and r.type = j.type and r.tenant = j.tenant and r.expires_at is not distinct from j.expires_at)
union all
select 'ready row without its queued job: ' || job_id from ready r where not exists (
    select from jobs j where j.id = r.job_id and j.state = 'queued' and j.seq = r.seq and j.priority = r.priority)
union all
select 'delayed job without its row: ' || id from jobs j where state = 'delayed' and not exists (
    select from delayed d where d.job_id = j.id and d.due_at = j.scheduled_at and d.expires_at is not distinct from j.expires_at)
union all
select 'delayed row without its job: ' || job_id from delayed d where not exists (
    select from jobs j where j.id = d.job_id and j.state = 'delayed' and j.scheduled_at = d.due_at)
union all
select 'open attempt of a job that does not run: ' || job_id from attempts a join jobs j on j.id = a.job_id
where a.outcome is null and not (j.state = 'running' and j.lease = a.number and j.worker = a.worker)
    and not exists (select from attempts c where c.job_id = a.job_id and c.number = a.number
        and exists (select from claims k where k.worker = a.worker and a.job_id = any (k.job_ids)) and j.lease > a.number)
union all
select 'running job without its open attempt: ' || id from jobs j where state = 'running' and not exists (
    select from attempts a where a.job_id = j.id and a.number = j.lease and a.worker = j.worker and a.outcome is null)
union all
select 'running job in no claim: ' || id from jobs j where state = 'running' and not exists (
    select from claims c, unnest(c.job_ids, c.leases) as u(job_id, lease) where c.worker = j.worker and u.job_id = j.id and u.lease = j.lease)
union all
select 'failed or cancelled job without its row: ' || id from jobs j where state in ('failed', 'cancelled') and not exists (
    select from ended e where e.tenant = j.tenant and e.state = j.state and e.job_id = j.id)
union all
select 'row without its failed or cancelled job: ' || job_id from ended e where not exists (
    select from jobs j where j.id = e.job_id and j.tenant = e.tenant and j.state = e.state)
union all
select 'ended_counts of ' || state || ' are ' || coalesce(c.n, 0) || ', jobs are ' || coalesce(j.n, 0)
from (select state, sum(n) as n from ended_counts group by state) c
full join (select state, count(*) as n from jobs where state in ('done', 'failed', 'cancelled') group by state) j using (state)
where coalesce(c.n, 0) <> coalesce(j.n, 0)`

func (f fixture) wantConsistent() {
	f.Helper()
	for _, wrong := range one[[]string](f, `select coalesce(array_agg(w), '{}') from (`+inconsistencies+`) i(w)`) {
		f.Error(wrong)
	}
	var plain Counts
	err := f.db.QueryRow(f.Context(), `select count(*) filter (where state = 'queued'), count(*) filter (where state = 'running'),
		count(*) filter (where state = 'delayed'), count(*) filter (where state = 'failed'), count(*) filter (where state = 'done'),
		count(*) filter (where state = 'cancelled') from jobs`).
		Scan(&plain.Queued, &plain.Running, &plain.Delayed, &plain.Failed, &plain.Done, &plain.Cancelled)
	if err != nil {
		f.Fatal(err)
	}
	counted := must[Counts](f)(f.Counts(f.Context(), ""))
	if counted.OldestQueued = 0; counted != plain {
		f.Errorf("Counts gives %+v; the jobs are %+v", counted, plain)
	}
}
