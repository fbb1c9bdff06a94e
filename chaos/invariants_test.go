package main

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// sound is one job of each kind, all of whose rows are as they should be.
const sound = `
insert into jobs (id, type, state, priority, payload, attempts, max_attempts, lease, finished_at, result)
	values ('00000000-0000-7000-8000-000000000001', 't', 'done', 5, '{}', 2, 5, 2, now(), '{}');
insert into attempts (job_id, number, worker, outcome, charged, finished_at) values
	('00000000-0000-7000-8000-000000000001', 1, 'h/1/a', 'lost', true, now()),
	('00000000-0000-7000-8000-000000000001', 2, 'h/2/b', 'ok', true, now());
insert into jobs (id, type, state, priority, payload, max_attempts, lease, finished_at)
	values ('00000000-0000-7000-8000-000000000002', 't', 'cancelled', 5, '{}', 5, 2, now());
insert into attempts (job_id, number, worker, outcome, finished_at)
	values ('00000000-0000-7000-8000-000000000002', 1, 'h/1/a', 'cancelled', now());
insert into jobs (id, type, state, priority, payload, max_attempts) values ('00000000-0000-7000-8000-000000000003', 't', 'queued', 5, '{}', 5);
insert into ready (line, priority, seq, job_id, tenant, type, since)
	select type, priority, seq, id, tenant, type, created_at from jobs where state = 'queued';
insert into jobs (id, type, state, priority, payload, max_attempts, scheduled_at)
	values ('00000000-0000-7000-8000-000000000004', 't', 'delayed', 5, '{}', 5, now());
insert into delayed (due_at, job_id, tenant, line) select scheduled_at, id, tenant, type from jobs where state = 'delayed';
insert into jobs (id, type, state, priority, payload, max_attempts, lease, worker, started_at, deadline_at)
	values ('00000000-0000-7000-8000-000000000005', 't', 'running', 5, '{}', 5, 1, 'h/1/a', now(), now());
insert into attempts (job_id, number, worker) values ('00000000-0000-7000-8000-000000000005', 1, 'h/1/a');
`

// An invariant that cannot fail proves nothing: each is broken by hand here, and must be the one to tell.
func TestEachInvariantSeesWhatBreaksIt(t *testing.T) {
	t.Parallel()
	cases := []struct{ breaks, holds string }{
		{"", ""},
		{"update jobs set result = '1' where state = 'done'", "what has ended never changes, no lease falls, no attempt gets another worker"},
		{"update jobs set lease = 3 where state = 'running'; update jobs set lease = 2 where state = 'running'", "what has ended never changes, no lease falls, no attempt gets another worker"},
		{"update attempts set worker = 'h/9/z' where outcome is null", "what has ended never changes, no lease falls, no attempt gets another worker"},
		{"update attempts set status = 500 where outcome = 'ok'", "what has ended never changes, no lease falls, no attempt gets another worker"},
		{"insert into attempts (job_id, number, worker, outcome, finished_at) values ('00000000-0000-7000-8000-000000000003', 1, 'w', 'ok', now()); update jobs set lease = 1 where state = 'queued'",
			"a done job has one ok attempt, any other has none"},
		{"update jobs set lease = 2 where state = 'queued'", "attempts are numbered from 1 to the job's lease"},
		{"update jobs set attempts = 1 where state = 'queued'", "jobs.attempts is the number of charged attempts"},
		{"insert into attempts (job_id, number, worker, outcome, charged, finished_at) values ('00000000-0000-7000-8000-000000000003', 1, 'w', 'interrupted', true, now()); update jobs set lease = 1, attempts = 1 where state = 'queued'",
			"what is nobody's fault is not charged"},
		{"update jobs set state = 'failed', last_error = 'x', finished_at = now() where state = 'queued'; delete from ready", "a failed job has used up its attempts or was refused"},
		{"update attempts set worker = 'h/9/z' where outcome is null", "an open attempt is that of the job's lease and its holder"},
		{"update jobs set worker = 'h/9/z' where state = 'running'", "a running job has an open attempt"},
		{"update jobs set started_at = now() - interval '1 hour' where state = 'running'", "nothing runs for longer than its time-out and death detection allow"},
		{"delete from ready", "a queued job is in ready, a delayed one in delayed"},
		{"update delayed set due_at = now() + interval '1 hour'", "a queued job is in ready, a delayed one in delayed"},
		{"drop index jobs_idempotency; update jobs set idempotency_key = 'k', request_hash = '' where state in ('queued', 'delayed')", "an Idempotency-Key has one job"},
	}
	for _, c := range cases {
		t.Run(c.holds, func(t *testing.T) {
			t.Parallel()
			if found := brokenBy(t, c.breaks, false); c.holds == "" && len(found) > 0 || c.holds != "" && !slices.Contains(found, c.holds) {
				t.Errorf("%s\nbroke %q", c.breaks, found)
			}
		})
	}
	t.Run("at the end", func(t *testing.T) {
		t.Parallel()
		found := strings.Join(brokenBy(t, "", true), "; ")
		for _, holds := range []string{"nobody is in ready or delayed who does not wait", "every job has ended"} {
			if !strings.Contains(found, holds) {
				t.Errorf("jobs that wait broke %q", found)
			}
		}
	})
}

// brokenBy are the invariants that do not hold after a statement.
func brokenBy(t *testing.T, sql string, atEnd bool) (holds []string) {
	t.Helper()
	db := pgtest.New(t)
	for _, text := range []string{watchSQL, sound, sql} {
		if _, err := db.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	tx, err := db.BeginTx(t.Context(), pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	r := &rig{fleet: &fleet{deadAfter: shortLease}}
	found, err := r.checkRows(t.Context(), tx, atEnd)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		holds = append(holds, v.invariant)
	}
	return holds
}

func TestPromisesThatAnswersBreak(t *testing.T) {
	t.Parallel()
	l := newLedger()
	l.keyed("key", "a")
	l.keyed("key", "a")
	if found := l.broken(); len(found) > 0 || len(l.accepted) != 1 {
		t.Errorf("the same answer twice: %v, accepted %v", found, l.accepted)
	}
	l.keyed("key", "b")
	if found := l.broken(); len(found) != 1 {
		t.Errorf("two jobs for a key: %v", found)
	}
}
