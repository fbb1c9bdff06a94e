package upstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/pkg/breaker"
	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/pg/pgtest"
	"github.com/sluicedev/sluice/pkg/quota"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	gpt5 = "openai:gpt-5"

	patience = 2 * time.Minute // for an event that has to come
)

type fixture struct {
	*testing.T
	db *pgxpool.Pool
	*Store
}

// newFixture has one upstream, cold.
func newFixture(t *testing.T) fixture {
	t.Helper()
	f := fixture{T: t, db: pgtest.New(t)}
	f.Store = New(f.db)
	if err := f.Ensure(t.Context(), gpt5); err != nil {
		t.Fatal(err)
	}
	return f
}

// warm lets the provider have answered once.
func (f fixture) warm() fixture {
	f.Helper()
	f.report(breaker.Report{OK: 1}, nil)
	return f
}

func (f fixture) must(s Status, err error) Status {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
	return s
}

func (f fixture) report(r breaker.Report, seen *quota.Observation) Status {
	f.Helper()
	s, _, err := f.Visit(f.Context(), gpt5, "w", Visit{Report: r, Seen: seen})
	return f.must(s, err)
}

func (f fixture) get() Status {
	f.Helper()
	s, found, err := f.Get(f.Context(), gpt5)
	if err != nil || !found {
		f.Fatal(found, err)
	}
	return s
}

func (f fixture) exec(sql string, args ...any) {
	f.Helper()
	if _, err := f.db.Exec(f.Context(), sql, args...); err != nil {
		f.Fatalf("%s: %v", sql, err)
	}
}

func (f fixture) grant(worker string) uuid.UUID {
	f.Helper()
	_, id, err := f.Grant(f.Context(), gpt5, worker, "", time.Minute)
	if err != nil {
		f.Fatal(err)
	}
	return id
}

// events are the audit in short: "closed open failures w".
func (f fixture) events() []string {
	f.Helper()
	rows, err := f.db.Query(f.Context(), `select concat_ws(' ', from_state, to_state, reason, by) from breaker_events where upstream = $1 order by id`, gpt5)
	if err != nil {
		f.Fatal(err)
	}
	events, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		f.Fatal(err)
	}
	return events
}

// noLocks makes sure that no advisory lock outlived its statement.
func (f fixture) noLocks() {
	f.Helper()
	var n int
	err := f.db.QueryRow(f.Context(), `select count(*) from pg_locks l join pg_database d on d.oid = l.database
		where l.locktype = 'advisory' and d.datname = current_database()`).Scan(&n)
	if err != nil || n != 0 {
		f.Errorf("%d advisory locks are held, %v", n, err)
	}
}

func jobs(n int) []uuid.UUID {
	ids := make([]uuid.UUID, n)
	for i := range ids {
		ids[i] = uuid.New()
	}
	return ids
}

var trip = breaker.Report{Failed: 5, Trailing: 5, Jobs: jobs(3)}

func TestEnsureIsSafeToRepeat(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.report(breaker.Report{Failed: 1, Trailing: 1, Jobs: jobs(1)}, nil)
	if err := f.Ensure(t.Context(), "openai:a", gpt5, "openai:a"); err != nil {
		t.Fatal(err)
	}
	all, err := f.List(t.Context())
	if err != nil || len(all) != 2 || all[1].Name != gpt5 || all[1].Failures != 1 || all[0].Name != "openai:a" || !all[0].Cold || all[0].State != "closed" || !all[0].Admits {
		t.Errorf("%+v, %v", all, err)
	}
	if _, found, err := f.Get(t.Context(), "openai:made-up"); found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
	if _, err := f.Pause(t.Context(), "openai:made-up", "me"); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v; want ErrNotFound", err)
	}
}

func TestConcurrentReportsAreAllCounted(t *testing.T) {
	t.Parallel()
	f := newFixture(t).warm()
	const n = 50
	job := jobs(1) // of one job: nothing trips by the run, and the window is kept below 20 by its rule
	store := f.WithRules(func() breaker.Rules { r := breaker.DefaultRules; r.Calls = 1000; return r }())
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if _, _, err := store.Visit(t.Context(), gpt5, fmt.Sprint("w", i), Visit{Report: breaker.Report{Failed: 2, Trailing: 2, Jobs: job}}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if s := f.get(); s.Failures != 2*n {
		t.Errorf("%d failures are counted; want %d", s.Failures, 2*n)
	}
	var bad, version int
	if err := f.db.QueryRow(t.Context(), `select (select sum(n) from unnest(window_bad) n), version from upstreams`).Scan(&bad, &version); err != nil || bad != 2*n || version != n+1 {
		t.Errorf("the window has %d, the version is %d, %v", bad, version, err)
	}
	f.noLocks()
}

func TestOneGrantOfManyWins(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	won := make([]uuid.UUID, 20)
	var all sync.WaitGroup
	for i := range won {
		all.Go(func() {
			_, id, err := f.Grant(t.Context(), gpt5, fmt.Sprint("w", i), "", time.Minute)
			if err != nil {
				t.Error(err)
			}
			won[i] = id
		})
	}
	all.Wait()
	won = slices.DeleteFunc(won, func(id uuid.UUID) bool { return id == uuid.Nil })
	if len(won) != 1 {
		t.Fatalf("%d permits were given", len(won))
	}
	var id uuid.UUID
	if err := f.db.QueryRow(t.Context(), `select probe_id from upstreams`).Scan(&id); err != nil || id != won[0] {
		t.Errorf("the permit in force is %s, %v", id, err)
	}
	f.noLocks()
}

func TestEveryTransitionIsAuditedAndTold(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	listener, err := f.db.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(listener.Release)
	if _, err := listener.Exec(t.Context(), "listen "+Channel); err != nil {
		t.Fatal(err)
	}
	told := func(what string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		n, err := listener.Conn().WaitForNotification(ctx)
		if err != nil || n.Payload != gpt5 {
			t.Errorf("%s: notified of %v, %v", what, n, err)
		}
	}
	f.warm()
	told("the first answer")
	opened := f.report(trip, nil)
	told("the trip")
	if opened.State != "open" || opened.Reason != "failures" || opened.OpenedAt == nil || opened.RetryAt.Sub(*opened.OpenedAt) < 20*time.Second || opened.RetryAt.Sub(*opened.OpenedAt) > 22*time.Second {
		t.Errorf("%+v", opened)
	}
	if f.grant("w") != uuid.Nil {
		t.Error("a probe before its time")
	}
	f.exec(`update upstreams set retry_at = now()`)
	probe := f.grant("w")
	told("the probe")
	if s := f.get(); s.State != "half-open" || s.Generation != 2 {
		t.Errorf("%+v", s)
	}
	job := uuid.New()
	if err := f.Took(t.Context(), gpt5, "w", probe, job); err != nil || f.get().ProbeJob != job {
		t.Error(err)
	}
	f.must(f.Free(t.Context(), gpt5, "w", probe))
	told("the permit's return")
	probe = f.grant("v")
	told("another probe")
	f.must(f.Answered(t.Context(), gpt5, "v", breaker.Answer{Probe: probe, Job: job, Alive: true, OK: true}, nil))
	told("its success")
	f.must(f.Pause(t.Context(), gpt5, "ann"))
	told("the pause")
	f.must(f.Pause(t.Context(), gpt5, "bob"))
	f.must(f.Resume(t.Context(), gpt5, "ann"))
	told("the end of the pause")
	f.must(f.Resume(t.Context(), gpt5, "bob"))
	f.must(f.Refuse(t.Context(), gpt5, "w", breaker.Refused{Generation: f.get().Generation, Reason: breaker.Account, Job: job}))
	told("the account's stop")
	want := []string{"closed open failures w", "open half-open failures w", "half-open open failures w", "open half-open failures v",
		"half-open closed v", "closed open operator ann", "open closed ann", "closed open account w"}
	if got := f.events(); !slices.Equal(got, want) {
		t.Errorf("events are\n%q; want\n%q", got, want)
	}
	f.noLocks()
}

// A change of state is on disk when it is told: a generation that a crash took back would be given twice. What costs a
// transaction half a second, counts and grants, waits for no disk.
func TestAChangeOfStateIsOnDisk(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	pgtest.KeepCommits(t, f.db, "upstreams")
	f.warm().report(trip, nil)
	rows, err := f.db.Query(t.Context(), `select state || ' ' || how from kept order by state`)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || !slices.Equal(kept, []string{"closed off", "open on"}) {
		t.Errorf("written as %q, %v", kept, err)
	}
}

func TestResumeOfAHoldProbesAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t).warm()
	held := f.must(f.Refuse(t.Context(), gpt5, "w", breaker.Refused{Reason: breaker.Account, Job: uuid.New()}))
	if held.State != "open" || held.Admits || f.grant("w") != uuid.Nil {
		t.Fatalf("%+v", held)
	}
	resumed := f.must(f.Resume(t.Context(), gpt5, "ann"))
	if resumed.State != "open" || resumed.Reason != "account" || !resumed.Admits {
		t.Errorf("%+v", resumed)
	}
	if f.grant("w") == uuid.Nil {
		t.Error("no probe is admitted")
	}
	want := []string{"closed open account w", "open open account ann", "open half-open account w"}
	if got := f.events(); !slices.Equal(got, want) {
		t.Errorf("events are %q; want %q", got, want)
	}
}

// refuse reports that a credential was refused, with a job of its own.
func (f fixture) refuse(credential string) Status {
	f.Helper()
	return f.must(f.Refuse(f.Context(), gpt5, "w", breaker.Refused{
		Generation: f.get().Generation, Reason: breaker.Credentials, Credential: credential, Job: uuid.New(),
	}))
}

func TestACredentialThatAloneIsRefusedIsParkedUntilItSucceeds(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.report(breaker.Report{OK: 1, Credential: "new"}, nil)
	if s := f.refuse("old"); !s.Suspected || s.Parked("old") {
		t.Errorf("after one refusal: %+v", s)
	}
	f.refuse("old")
	if s := f.get(); s.State != "closed" || !s.Parked("old") || s.Parked("new") || s.Parked("") || s.Suspected {
		t.Errorf("after two: %+v", s)
	}
	if s := f.report(breaker.Report{OK: 1, Credential: "old"}, nil); s.Parked("old") {
		t.Errorf("after its success: %+v", s)
	}
	if events := f.events(); len(events) != 0 {
		t.Errorf("events are %q", events)
	}
}

func TestAnUntriedCredentialIsGrantedAProbeAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.refuse("old")
	opened := f.refuse("old")
	if opened.Reason != "credentials" || opened.Parked("old") || opened.Admits || opened.AdmitsWith("old") || opened.AdmitsWith("") || !opened.AdmitsWith("new") {
		t.Fatalf("%+v", opened)
	}
	grant := func(credential string) uuid.UUID {
		t.Helper()
		_, id, err := f.Grant(t.Context(), gpt5, "w", credential, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	if grant("old") != uuid.Nil || grant("") != uuid.Nil {
		t.Error("a probe before its time")
	}
	probe := grant("new")
	if probe == uuid.Nil || f.get().AdmitsWith("odd") {
		t.Error("the probe was not granted, or a second one would be")
	}
	closed := f.must(f.Answered(t.Context(), gpt5, "w", breaker.Answer{Probe: probe, Job: uuid.New(), Credential: "new", Alive: true, OK: true}, nil))
	if closed.State != "closed" || !closed.Parked("old") || closed.Parked("new") {
		t.Errorf("%+v", closed)
	}
}

// A process of the version before this one swaps in rows without what it does not know of.
func TestASwapThatKnowsOfNoCredentialsKeepsThem(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.report(breaker.Report{OK: 1, Credential: "new"}, nil)
	f.refuse("old")
	f.refuse("old")
	f.exec(`select upstream_swap(name, version, to_jsonb(u) - 'refused' - 'last_ok_by' - 'suspect_credential', null) from upstreams u`)
	if s := f.get(); !s.Parked("old") {
		t.Errorf("%+v", s)
	}
}

// From the first sign of a limit calls need permits, and who learns it late starts too many; a suspicion is settled by
// those who tell in time that they succeed.
func TestAFirstLimitAndASuspicionAreToldOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t).warm()
	listener, err := f.db.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(listener.Release)
	if _, err := listener.Exec(t.Context(), "listen "+Channel); err != nil {
		t.Fatal(err)
	}
	mark := func(s string) { t.Helper(); f.exec(`select pg_notify($1, $2)`, Channel, s) }
	f.report(breaker.Report{OK: 1, Credential: "new"}, nil)
	mark("nothing yet")
	if s := f.report(breaker.Report{}, seen(0, 400)); !s.Paced {
		t.Fatalf("%+v", s)
	}
	mark("a limit")
	f.report(breaker.Report{}, seen(0, 300))
	mark("more of it")
	f.refuse("new") // a bad job, as it seems
	f.report(breaker.Report{OK: 1, Credential: "new"}, nil)
	mark("its own")
	f.refuse("old")
	mark("a suspicion")
	f.refuse("odd")
	f.refuse("old")
	mark("settled")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, want := range []string{"nothing yet", gpt5, "a limit", "more of it", "its own", gpt5, "a suspicion", "settled"} {
		n, err := listener.Conn().WaitForNotification(ctx)
		if err != nil || n.Payload != want {
			t.Fatalf("told %v, %v; want %s", n, err, want)
		}
	}
}

func TestReportOfNothingWritesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t).warm()
	var before, after int
	const version = `select version from upstreams`
	if err := f.db.QueryRow(t.Context(), version).Scan(&before); err != nil {
		t.Fatal(err)
	}
	f.report(breaker.Report{}, nil)
	f.report(breaker.Report{Generation: 7, Failed: 3}, nil)
	f.must(f.Resume(t.Context(), gpt5, "ann"))
	f.must(f.Free(t.Context(), gpt5, "w", uuid.New()))
	if err := f.db.QueryRow(t.Context(), version).Scan(&after); err != nil || after != before {
		t.Errorf("version %d after %d, %v", after, before, err)
	}
}

// seen is an observation of 500 requests a minute with so many remaining.
func seen(age time.Duration, remaining float64) *quota.Observation {
	return &quota.Observation{Age: age, Readings: [quota.Dimensions]quota.Reading{
		quota.Requests: {Limit: 500, Remaining: remaining, Reset: time.Duration((500 - remaining) / 500 * float64(time.Minute))}}}
}

func TestTheNewestObservationWins(t *testing.T) {
	t.Parallel()
	f := newFixture(t).warm()
	near := func(s Status, want int64) bool {
		return *s.Requests.Remaining >= want && *s.Requests.Remaining <= want+60
	}
	s := f.report(breaker.Report{}, seen(time.Second, 92))
	if *s.Requests.Limit != 500 || !near(s, 100) || s.Tokens.Limit != nil || !s.Paced || !s.Requests.ResetsAt.After(s.Now) {
		t.Errorf("%+v", s)
	}
	if s = f.report(breaker.Report{}, seen(10*time.Second, 400)); !near(s, 100) {
		t.Errorf("an older observation won: %d", *s.Requests.Remaining)
	}
	if s = f.report(breaker.Report{}, seen(0, 20)); !near(s, 20) {
		t.Errorf("a newer observation lost: %d", *s.Requests.Remaining)
	}
	if s = f.get(); !near(s, 20) {
		t.Errorf("stored as %+v", s)
	}
}

// Many workers ask at the same moment: together they get what the bucket holds above its reserve, and not one more.
func TestTakesAtTheSameMomentShareTheBucket(t *testing.T) {
	t.Parallel()
	f := newFixture(t).warm()
	begun := time.Now()
	f.report(breaker.Report{}, seen(0, 60))
	const workers = 30
	grants := make(chan quota.Grant, workers)
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			_, g, err := f.Visit(t.Context(), gpt5, fmt.Sprint("w", i), Visit{Ask: quota.Ask{Requests: 20, Workers: workers, Tau: 500 * time.Millisecond}})
			if err != nil {
				t.Error(err)
			}
			grants <- g.Grant
		})
	}
	wg.Wait()
	close(grants)
	sum := 0
	for g := range grants {
		sum += g.Requests
		if g.Requests == 0 && g.Wait <= 0 {
			t.Error("nothing granted, and no word of how long to wait")
		}
	}
	// 60 remained, 25 are the reserve; a second refills 8, and the share of one that a rounding may add.
	if refilled := int(9*time.Since(begun).Seconds()) + 1; sum == 0 || sum > 60-25+refilled {
		t.Errorf("%d calls were granted", sum)
	}
}

// Who follows the backlog starts no worker for what an outage, an operator or a limit holds back.
func TestTheBacklogIsWhatCouldStart(t *testing.T) {
	t.Parallel()
	const waiting = 1000
	for name, c := range map[string]struct {
		happens     func(fixture)
		least, most int
	}{
		"no limit is known": {func(fixture) {}, waiting, waiting},
		// 25 are the reserve. A minute of eight a second is more than this test takes.
		"a limit leaves some": {func(f fixture) { f.report(breaker.Report{}, seen(0, 125)) }, 100, 600},
		"nobody took any for an hour": {func(f fixture) {
			f.report(breaker.Report{}, seen(0, 125))
			f.exec(`update upstreams set quota = jsonb_set(quota::jsonb, '{next,at}', to_jsonb(now() - interval '1 hour'))::json`)
		}, waiting, waiting},
		"a limit is met": {func(f fixture) {
			f.report(breaker.Report{}, &quota.Observation{Readings: [quota.Dimensions]quota.Reading{quota.Requests: {Limit: 500, Remaining: 0, Reset: time.Hour}}})
		}, 0, 0},
		"the breaker is open":   {func(f fixture) { f.report(trip, nil) }, 0, 0},
		"an operator paused it": {func(f fixture) { f.must(f.Pause(f.Context(), gpt5, "alice")) }, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t).warm()
			f.exec(`insert into ready (line, priority, seq, job_id, tenant, type, since)
				select $1, 5, n, gen_random_uuid(), 'default', 'kb.ingest', now() from generate_series(1, $2) n`, gpt5, waiting)
			c.happens(f)
			var n int
			if err := f.db.QueryRow(t.Context(), `select runnable_backlog()`).Scan(&n); err != nil || n < c.least || n > c.most {
				t.Errorf("%d can start, %v; want %d to %d", n, err, c.least, c.most)
			}
		})
	}
}

// The role that an autoscaler asks with, made as deploy says, may ask that one question, and cannot answer it itself.
func TestAnAutoscalersRoleMayAskThatAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into ready (line, priority, seq, job_id, tenant, type, since) values ('free', 5, 1, gen_random_uuid(), 'default', 'free', now())`)
	pooled, err := f.db.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conn := pooled.Hijack() // what becomes of its role is nobody else's
	defer conn.Close(context.Background())
	role := "keda_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	for _, sql := range []string{"create role " + role, "set role " + role, "create temp table ready (line text, expires_at timestamptz)"} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	var n int
	if err := conn.QueryRow(t.Context(), `select runnable_backlog()`).Scan(&n); err != nil || n != 1 {
		t.Errorf("it is told %d, %v; want 1", n, err)
	}
	for _, sql := range []string{`select from jobs`, `select from public.ready`, `select from upstreams`, `delete from workers`} {
		if _, err := conn.Exec(t.Context(), sql); pg.Code(err) != "42501" {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if _, err := conn.Exec(t.Context(), "reset role; drop owned by "+role+"; drop role "+role); err != nil {
		t.Error(err)
	}
}

func TestNothingIsGrantedWhileTheBreakerIsOpen(t *testing.T) {
	t.Parallel()
	f := newFixture(t).warm()
	f.report(breaker.Report{}, seen(0, 400))
	f.report(trip, nil)
	_, g, err := f.Visit(t.Context(), gpt5, "w", Visit{Ask: quota.Ask{Requests: 5, Workers: 1, Tau: time.Second}})
	if err != nil || g.Requests != 0 {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestUnspentPermitsGoBack(t *testing.T) {
	t.Parallel()
	f := newFixture(t).warm()
	before := f.report(breaker.Report{}, seen(0, 100))
	_, g, err := f.Visit(t.Context(), gpt5, "w", Visit{Ask: quota.Ask{Requests: 8, Workers: 1, Tau: time.Second}})
	if err != nil || g.Requests == 0 {
		t.Fatalf("%+v, %v", g, err)
	}
	after, _, err := f.Visit(t.Context(), gpt5, "w", Visit{Unspent: []Unspent{{Requests: g.Requests, Granted: g.At}}})
	if err != nil || *after.Requests.Remaining < *before.Requests.Remaining {
		t.Errorf("%d before, %d after, %v", *before.Requests.Remaining, *after.Requests.Remaining, err)
	}
}

// The row changes with each take: it must stay small and its updates must not touch an index. Other tests on the same
// server delay the pruning that makes room for them, so this is a lower bar than an own server reaches.
func TestTakesAreHOT(t *testing.T) {
	t.Parallel()
	f := newFixture(t).warm()
	f.report(breaker.Report{}, seen(0, 100))
	const takes = 500
	for range takes {
		if _, _, err := f.Visit(t.Context(), gpt5, "w", Visit{Seen: seen(0, 100), Ask: quota.Ask{Requests: 1, TokensEach: 12345, Workers: 4, Tau: time.Second}}); err != nil {
			t.Fatal(err)
		}
	}
	var all, hot, size int64
	// A session's counts reach the views when it has been idle for a while, or at once when it is asked to.
	const sql = `select n_tup_upd, n_tup_hot_upd, (select pg_column_size(u.*) from upstreams u where name = $1)
		from pg_stat_user_tables where relname = 'upstreams'`
	for deadline := time.Now().Add(patience); all < takes; {
		f.exec(`select pg_stat_force_next_flush()`)
		if err := f.db.QueryRow(t.Context(), sql, gpt5).Scan(&all, &hot, &size); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("only %d updates were counted", all)
		}
	}
	if float64(hot) < 0.8*float64(all) || size > 1300 {
		t.Errorf("%d of %d updates were HOT; the row has %d bytes", hot, all, size)
	}
	t.Logf("%d of %d updates were HOT; the row has %d bytes", hot, all, size)
}

func TestFreeLostGivesBackADeadWorkersPermits(t *testing.T) {
	t.Parallel()
	f := newFixture(t).warm()
	if err := f.Ensure(t.Context(), "openai:b", "openai:c"); err != nil {
		t.Fatal(err)
	}
	f.report(trip, nil)
	f.exec(`update upstreams set retry_at = now() where name = $1`, gpt5)
	if f.grant("dead") == uuid.Nil {
		t.Fatal("no permit")
	}
	for name, worker := range map[string]string{"openai:b": "dead", "openai:c": "alive"} {
		if _, id, err := f.Grant(t.Context(), name, worker, "", time.Minute); err != nil || id == uuid.Nil {
			t.Fatal(id, err)
		}
	}
	f.exec(`insert into workers (id, types, concurrency) values ('alive', '{}', 1)`)
	if err := f.FreeLost(t.Context(), "gravedigger"); err != nil {
		t.Fatal(err)
	}
	all, err := f.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	admits := map[string]bool{}
	for _, s := range all {
		admits[s.Name] = s.Admits
	}
	if !admits[gpt5] || !admits["openai:b"] || admits["openai:c"] {
		t.Errorf("admitted are %v", admits)
	}
	if events := f.events(); events[len(events)-1] != "half-open open failures gravedigger" {
		t.Errorf("events are %q", events)
	}
}

// Somebody holds the upstream's lock: changes of it wait, reads and other upstreams do not.
func TestTheLockStopsChangesOfOneUpstreamAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t).warm()
	if err := f.Ensure(t.Context(), "openai:b"); err != nil {
		t.Fatal(err)
	}
	tx, err := f.db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	_, err = tx.Exec(t.Context(), `select pg_advisory_xact_lock(hashtextextended(current_schema() || '/upstream/' || $1, 0))`, gpt5)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := f.Pause(t.Context(), gpt5, "ann"); done <- err }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for waiting := 0; waiting == 0; {
		err := f.db.QueryRow(ctx, `select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'advisory'`).Scan(&waiting)
		if err != nil {
			t.Fatal(err)
		}
	}
	if s := f.get(); s.State != "closed" {
		t.Errorf("%+v", s)
	}
	if _, err := f.List(t.Context()); err != nil {
		t.Error(err)
	}
	if s, err := f.Pause(t.Context(), "openai:b", "ann"); err != nil || s.State != "open" {
		t.Errorf("another upstream: %+v, %v", s, err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || f.get().State != "open" {
		t.Errorf("the change that waited: %v", err)
	}
}

// A client that read a row and froze: what it swaps in later is refused, and it blocks nobody meanwhile.
func TestASwapOfAStaleRowIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t).warm()
	stale, err := f.read(t.Context(), gpt5)
	if err != nil {
		t.Fatal(err)
	}
	f.noLocks()
	f.report(trip, nil)
	swapped, err := f.swap(t.Context(), stale, stale.with(stale.breaker().Pause(stale.Now)), "late")
	if err != nil || swapped {
		t.Errorf("swapped %v, %v", swapped, err)
	}
	if s := f.get(); s.Reason != "failures" {
		t.Errorf("%+v", s)
	}
	if got := f.events(); !slices.Equal(got, []string{"closed open failures w"}) {
		t.Errorf("events are %q", got)
	}
}

// The row is read as it was swapped in.
func TestARowSurvivesTheRoundTrip(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	old, err := f.read(t.Context(), gpt5)
	if err != nil {
		t.Fatal(err)
	}
	at := old.Now.Truncate(time.Microsecond)
	want := breaker.Breaker{
		State: breaker.HalfOpen, Reason: breaker.Account, Failures: 4, FailingJobs: jobs(2), OpenedAt: at, ClosedAt: at.Add(2 * time.Microsecond),
		HeardAt: at.Add(3 * time.Microsecond), LastOKAt: at.Add(4 * time.Microsecond), OpenFor: 20 * time.Second, Generation: 1 << 60, WindowAt: at.Add(5 * time.Microsecond),
		WindowOK: []int32{1, 2, 3}, WindowBad: []int32{4, 5, 6}, Probe: breaker.Probe{ID: uuid.New(), Worker: `w"\é`, Until: at.Add(6 * time.Microsecond)}, ProbeJob: uuid.New(),
		Suspect:  breaker.Suspect{Job: uuid.New(), Reason: breaker.Credentials, Credential: "c1", At: at.Add(7 * time.Microsecond)},
		LastOKBy: "c2", Refused: []string{"c3", "c4"},
	}
	want.RetryAt = at.Add(8 * time.Microsecond)
	if swapped, err := f.swap(t.Context(), old, old.with(want), "w"); err != nil || !swapped {
		t.Fatal(swapped, err)
	}
	r, err := f.read(t.Context(), gpt5)
	if err != nil {
		t.Fatal(err)
	}
	again := old.with(r.breaker())
	if w := old.with(want); fmt.Sprintf("%+v", normal(again)) != fmt.Sprintf("%+v", normal(w)) {
		t.Errorf("stored\n%+v, read\n%+v", normal(w), normal(again))
	}
}

func normal(r row) breaker.Breaker {
	b := r.breaker()
	for _, at := range []*time.Time{&b.OpenedAt, &b.RetryAt, &b.ClosedAt, &b.HeardAt, &b.LastOKAt, &b.WindowAt, &b.Probe.Until, &b.Suspect.At} {
		*at = at.UTC()
	}
	return b
}

func TestChecksRefuseBadRows(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, c := range []struct{ constraint, set string }{
		{"upstreams_state_known", `state = 'ajar', reason = 'failures', opened_at = now()`},
		{"upstreams_reason_known", `state = 'open', reason = 'mood', opened_at = now(), retry_at = now()`},
		{"upstreams_closed_has_no_reason", `reason = 'failures'`},
		{"upstreams_closed_has_no_reason", `state = 'open', opened_at = now(), retry_at = now()`},
		{"upstreams_open_has_times", `state = 'open', reason = 'failures', retry_at = now()`},
		{"upstreams_open_retries", `state = 'open', reason = 'failures', opened_at = now()`},
		{"upstreams_probe_whole", `probe_id = gen_random_uuid()`},
		{"upstreams_probe_whole", `probe_id = gen_random_uuid(), probe_worker = 'w'`},
		{"upstreams_half_open_probes", `state = 'half-open', reason = 'failures', opened_at = now()`},
		{"upstreams_refused_few", `refused = '{1,2,3,4,5,6,7,8,9}'`},
	} {
		_, err := f.db.Exec(t.Context(), `update upstreams set `+c.set)
		var raised *pgconn.PgError
		if !errors.As(err, &raised) || raised.ConstraintName != c.constraint {
			t.Errorf("%s: %v; want a violation of %s", c.set, err, c.constraint)
		}
	}
	_, err := f.db.Exec(t.Context(), `insert into breaker_events (upstream, from_state, to_state, by) values ('u', 'closed', 'ajar', 'w')`)
	var raised *pgconn.PgError
	if !errors.As(err, &raised) || raised.ConstraintName != "breaker_events_states_known" {
		t.Error(err)
	}
	f.exec(`update upstreams set state = 'open', reason = 'operator', opened_at = now()`) // a pause has no end of its own
}

// Updates of the row stay in its page: no index has a column that changes.
func TestUpdatesCanBeHOT(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var indexed []string
	err := f.db.QueryRow(t.Context(), `select array_agg(a.attname::text) from pg_index i
		join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey) where i.indrelid = 'upstreams'::regclass`).Scan(&indexed)
	if err != nil || !slices.Equal(indexed, []string{"name"}) {
		t.Errorf("indexes are on %v, %v", indexed, err)
	}
}

// Two limits of tokens hold: what is told is the one that holds calls up, though more is left of it.
func TestTheTighterLimitOfTokensIsTold(t *testing.T) {
	t.Parallel()
	now := time.Now()
	o := quota.Observation{}
	o.Readings[quota.Tokens] = quota.Reading{Limit: 10e6, Remaining: 400e3, Reset: 57600 * time.Millisecond}
	o.Readings[quota.ProjectTokens] = quota.Reading{Limit: 400e3, Remaining: 399e3, Reset: 150 * time.Millisecond}
	s := row{Now: now}.withQuota(quota.Quota{}.Observe(o, now)).status()
	if s.Tight != OnTokens || s.Tokens.Limit == nil || *s.Tokens.Limit != 10e6 {
		t.Errorf("tight %q, limit %v", s.Tight, *s.Tokens.Limit)
	}
}

// Of each change of state the process that made it is told, once, and nobody of what changes none.
func TestChangesAreTold(t *testing.T) {
	t.Parallel()
	f := newFixture(t).warm()
	var told []Change
	teller := f.Store.Telling(func(c Change) { told = append(told, c) })
	f.must(teller.Pause(t.Context(), gpt5, "me"))
	f.must(teller.Pause(t.Context(), gpt5, "me"))
	f.must(f.Store.Resume(t.Context(), gpt5, "another process"))
	want := []Change{{gpt5, "closed", "open", "operator"}}
	if !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}
