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

// sound is one job of each kind, all of whose rows are as they should be. The failed one was retried by hand twice: when it
// had failed, and when it had been cancelled in the midst of its second attempt.
const sound = `
insert into jobs (id, type, state, priority, payload, attempts, max_attempts, lease, finished_at, result)
	values ('00000000-0000-7000-8000-000000000001', 't', 'done', 5, '{}', 2, 5, 2, now(), '{}');
insert into attempts (job_id, number, worker, outcome, charged, finished_at) values
	('00000000-0000-7000-8000-000000000001', 1, 'h/1/a', 'lost', true, now()),
	('00000000-0000-7000-8000-000000000001', 2, 'h/2/b', 'ok', true, now());
insert into jobs (id, type, state, priority, payload, max_attempts, lease, worker, started_at, deadline_at)
	values ('00000000-0000-7000-8000-000000000002', 't', 'running', 5, '{}', 5, 1, 'h/1/a', now(), now());
update jobs set state = 'cancelled', lease = 2, worker = null, deadline_at = null, finished_at = now() where state = 'running';
insert into attempts (job_id, number, worker, outcome, finished_at)
	values ('00000000-0000-7000-8000-000000000002', 1, 'h/1/a', 'cancelled', now());
insert into jobs (id, type, state, priority, payload, attempts, max_attempts, lease, finished_at, last_error)
	values ('00000000-0000-7000-8000-000000000006', 't', 'failed', 5, '{}', 1, 1, 1, now(), 'x');
update jobs set state = 'queued', attempts = 0, finished_at = null, seq = nextval('jobs_seq') where state = 'failed';
update jobs set state = 'running', lease = 2, worker = 'h/1/a', started_at = now(), deadline_at = now() where state = 'queued';
update jobs set state = 'cancelled', lease = 3, worker = null, deadline_at = null, finished_at = now() where state = 'running';
update jobs set state = 'queued', finished_at = null, seq = nextval('jobs_seq') where lease = 3;
update jobs set state = 'running', lease = 4, worker = 'h/1/a', started_at = now(), deadline_at = now() where state = 'queued';
update jobs set state = 'failed', attempts = 1, worker = null, deadline_at = null, finished_at = now() where state = 'running';
insert into attempts (job_id, number, worker, outcome, charged, finished_at) values
	('00000000-0000-7000-8000-000000000006', 1, 'h/1/a', 'error', true, now()),
	('00000000-0000-7000-8000-000000000006', 2, 'h/1/a', 'cancelled', false, now()),
	('00000000-0000-7000-8000-000000000006', 4, 'h/1/a', 'error', true, now());
insert into ended (tenant, state, job_id) select tenant, state, id from jobs where state in ('failed', 'cancelled');
insert into ended_counts values ('default', 'done', 1), ('default', 'cancelled', 2), ('default', 'cancelled', -1), ('default', 'failed', 1);
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

const (
	changes  = "what has ended changes by a retry alone, a lease by a claim or a cancel, an attempt never its worker"
	numbers  = "each number up to a job's lease is that of one attempt, or of the cancel of one"
	charges  = "jobs.attempts is the number of charged attempts since the last retry by hand"
	ordered  = "what is done by hand was ordered, and each order that was answered was obeyed once"
	listed   = "ended has each failed or cancelled job once, and no other"
	resting  = "a job that was left cancelled or failed stays so"
	seenDone = "what was seen done is done"
)

// An invariant that cannot fail proves nothing: each is broken by hand here, and must be the one to tell.
func TestEachInvariantSeesWhatBreaksIt(t *testing.T) {
	t.Parallel()
	cases := []struct{ breaks, holds string }{
		{"", ""},
		{"update jobs set result = '1' where state = 'done'", changes},
		{"update jobs set state = 'queued', attempts = 0, finished_at = null, result = null, seq = nextval('jobs_seq') where state = 'done'", changes},
		{"update jobs set state = 'queued', finished_at = null, seq = nextval('jobs_seq') where state = 'failed'", changes}, // no fresh allowance
		{"update jobs set state = 'queued', finished_at = null, seq = nextval('jobs_seq'), lease = 0 where state = 'cancelled'", changes},
		{"update jobs set state = 'queued', finished_at = null, seq = nextval('jobs_seq'), priority = 1 where state = 'cancelled'", changes},
		{"update jobs set lease = 0 where state = 'queued'; update jobs set lease = 2 where state = 'running'", changes},
		{"update attempts set worker = 'h/9/z' where outcome is null", changes},
		{"update attempts set status = 500 where outcome = 'ok'", changes},
		{"insert into attempts (job_id, number, worker, outcome, finished_at) values ('00000000-0000-7000-8000-000000000003', 1, 'w', 'ok', now()); update jobs set lease = 1 where state = 'queued'",
			"a done job has one ok attempt, any other has none"},
		{"update jobs set lease = 2 where state = 'queued'", numbers},
		{"delete from attempts where number = 2", numbers},
		{"delete from chaos.orders", numbers},
		{"insert into attempts (job_id, number, worker, outcome, finished_at) values ('00000000-0000-7000-8000-000000000006', 3, 'w', 'cancelled', now())", numbers},
		{"update jobs set attempts = 1 where state = 'queued'", charges},
		{"update attempts set charged = false where number = 4", charges},
		{"delete from chaos.orders where verb = 'retry'", charges},
		{"insert into attempts (job_id, number, worker, outcome, charged, finished_at) values ('00000000-0000-7000-8000-000000000003', 1, 'w', 'interrupted', true, now()); update jobs set lease = 1, attempts = 1 where state = 'queued'",
			"what is nobody's fault is not charged"},
		{"update jobs set state = 'failed', last_error = 'x', finished_at = now() where state = 'queued'; delete from ready", "a failed job has used up its attempts or was refused"},
		{"update attempts set worker = 'h/9/z' where outcome is null", "an open attempt is that of the job's lease and its holder"},
		{"alter table attempts disable trigger user; update attempts set outcome = null, finished_at = null where number = 2 and not charged; update chaos.orders set at = now() - interval '1 hour'",
			"an open attempt is that of the job's lease and its holder"},
		{"update jobs set worker = 'h/9/z' where state = 'running'", "a running job has an open attempt"},
		{"update jobs set started_at = now() - interval '1 hour' where state = 'running'", "nothing runs for longer than its time-out and death detection allow"},
		{"delete from ready", "a queued job is in ready, a delayed one in delayed"},
		{"update delayed set due_at = now() + interval '1 hour'", "a queued job is in ready, a delayed one in delayed"},
		{"drop index jobs_idempotency; update jobs set idempotency_key = 'k', request_hash = '' where state in ('queued', 'delayed')", "an Idempotency-Key has one job"},
		{"delete from ended where state = 'failed'", listed},
		{"update ended set state = 'failed' where state = 'cancelled'", listed},
		{"update ended set tenant = 'other'", listed},
		{"insert into ended (tenant, state, job_id) select tenant, 'failed', id from jobs where state = 'running'", listed},
		{"insert into ended (tenant, state, job_id) select tenant, 'done', id from jobs where state = 'done'", listed},
		{"insert into ended (tenant, state, job_id) values ('default', 'failed', gen_random_uuid())", listed},
		{"update ended_counts set n = 2 where state = 'failed'", "ended_counts has each ended job once"},
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

// A cancel that cut an attempt off a moment ago leaves it open, for its worker to end, though the job may be anything by now.
func TestAnAttemptThatWasCutOffMayBeOpenForAWhile(t *testing.T) {
	t.Parallel()
	open := "alter table attempts disable trigger user; update attempts set outcome = null, finished_at = null where number = 2 and not charged"
	if found := brokenBy(t, open, false); len(found) > 0 {
		t.Errorf("broke %q", found)
	}
}

// brokenBy are the invariants that do not hold after a statement.
func brokenBy(t *testing.T, sql string, atEnd bool) []string {
	t.Helper()
	r := &rig{fleet: &fleet{deadAfter: shortLease}}
	found, err := r.checkRows(t.Context(), after(t, sql), atEnd)
	if err != nil {
		t.Fatal(err)
	}
	return holds(found)
}

// after is a transaction that sees the sound rows and what a statement made of them.
func after(t *testing.T, sql string) pgx.Tx {
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
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

func holds(found []violation) (list []string) {
	for _, v := range found {
		list = append(list, v.invariant)
	}
	return list
}

const (
	cancelledJob = "00000000-0000-7000-8000-000000000002"
	failedJob    = "00000000-0000-7000-8000-000000000006"
)

// told is a ledger that fits the sound rows.
func told() *ledger {
	l := newLedger()
	l.accepted = []string{cancelledJob, failedJob}
	l.done = []string{"00000000-0000-7000-8000-000000000001"}
	l.orders[cancelledJob] = orders{cancels: tally{2, 1, 1}, rests: "cancelled", lease: 2}
	l.orders[failedJob] = orders{cancels: tally{1, 0, 0}, retries: tally{3, 2, 1}, rests: "failed", lease: 4}
	return l
}

func TestEachPromiseSeesWhatBreaksIt(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name          string
		before, after func(*orders) // what the ledgers have about the failed job
		sql, holds    string
	}{
		{name: "sound"},
		{name: "asked for meanwhile", before: func(o *orders) { o.retries, o.rests = tally{1, 1, 0}, "" }},
		{name: "stirred meanwhile", before: func(o *orders) { o.retries, o.rests = tally{1, 1, 0}, "cancelled" }},
		{name: "one retry too many", after: func(o *orders) { o.retries = tally{2, 1, 1} }, holds: ordered},
		{name: "one retry too few", before: func(o *orders) { o.retries = tally{4, 3, 1} }, after: func(o *orders) { o.retries = tally{4, 3, 1} }, holds: ordered},
		{name: "a cancel that was refused", after: func(o *orders) { o.cancels = tally{1, 0, 1} }, holds: ordered},
		{name: "another state", before: func(o *orders) { o.rests = "cancelled" }, holds: resting},
		{name: "another lease", before: func(o *orders) { o.lease = 3 }, holds: resting},
		{name: "lost", sql: "delete from jobs where state = 'failed'", holds: "what was accepted exists"},
		{name: "undone", sql: "alter table jobs disable trigger user; update jobs set state = 'cancelled' where state = 'done'", holds: seenDone},
		{name: "unasked", sql: "update jobs set state = 'cancelled', finished_at = now() where state = 'queued'", holds: ordered},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			before, later := told(), told()
			for l, change := range map[*ledger]func(*orders){before: c.before, later: c.after} {
				if change != nil {
					o := l.orders[failedJob]
					change(&o)
					l.orders[failedJob] = o
				}
			}
			tx := after(t, c.sql)
			found, err := checkPromises(t.Context(), tx, before)
			if err != nil {
				t.Fatal(err)
			}
			more, err := checkOrders(t.Context(), tx, before, later)
			if err != nil {
				t.Fatal(err)
			}
			if broke := strings.Join(holds(append(found, more...)), "; "); broke != c.holds {
				t.Errorf("broke %q; want %q", broke, c.holds)
			}
		})
	}
}

// Who lives through a fault is not buried for it, and the provider is not shut for what is not its own.
func TestBlame(t *testing.T) {
	t.Parallel()
	r := &rig{postgres: &postgres{admin: pgtest.New(t)}}
	exec := func(sql string) {
		t.Helper()
		if _, err := r.postgres.admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	const opened = `insert into breaker_events (upstream, from_state, to_state, reason, by) values ('u', 'closed', 'open', 'failures', 'w')`
	exec(opened)
	exec(`insert into workers (id, types, concurrency, seen_at) values ('old', '{}', 1, now() - interval '1 hour'), ('a', '{}', 1, now()), ('b', '{}', 1, now())`)
	before, err := r.mark(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wants := func(f fault, want ...string) {
		t.Helper()
		found, err := r.checkBlame(t.Context(), f, before)
		if got := holds(found); err != nil || !slices.Equal(got, want) {
			t.Errorf("%+v: %q, %v; want %q", f, got, err, want)
		}
	}
	exec(`delete from workers where id = 'old'`)
	wants(fault{spares: true})
	exec(`delete from workers where id = 'a'`)
	exec(opened)
	wants(fault{}, "what is not the provider's fault opens no breaker")
	wants(fault{blamed: true})
	wants(fault{blamed: true, spares: true}, "who lives is not taken for dead")
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
