package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sluicedev/sluice/pkg/breaker"
	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/llm"
	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/pg/pgtest"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/retry"
	"github.com/sluicedev/sluice/pkg/upstream"
)

// A life of which a test runs only parts.
func newCrew(t *testing.T, wrap func(pg.DB) pg.DB) *life {
	t.Helper()
	db := pg.DB(pgtest.New(t))
	if wrap != nil {
		db = wrap(db)
	}
	l := crewOn(t, db)
	if err := l.upstreams.Ensure(t.Context(), l.upstreamNames()...); err != nil {
		t.Fatal(err)
	}
	return l
}

func crewOn(t *testing.T, db pg.DB) *life {
	t.Helper()
	types, err := jobtype.NewSet(jobtype.Type{Name: "ask", Upstream: "openai", Model: "gpt-5", Priority: 5, MaxAttempts: 5, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	l := newLife(New(db, db, upstream.New(db), Config{
		Types: types, Concurrency: 10, DeathAfter: time.Minute, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}), "crew")
	t.Cleanup(func() {
		l.giveUp()
		l.drop(nil)
	})
	return l
}

func (l *life) onlyLine() *line {
	for _, line := range l.lines {
		return line
	}
	return nil
}

func failing(l *life) *attempt {
	return &attempt{job: queue.Claimed{ID: uuid.New(), Lease: 1}, line: l.onlyLine(), began: time.Now()}
}

// A worker is frozen between its claim and the call, for less than it takes to be dead. Meanwhile the upstream is paused:
// what the worker remembers of it is too old to call by.
func TestNoCallStartsOnOldNews(t *testing.T) {
	t.Parallel()
	for _, paused := range []bool{false, true} {
		l := newCrew(t, nil)
		line, called := l.onlyLine(), false
		l.handlers["ask"] = func(context.Context, Job) (Result, error) { called = true; return Result{}, nil }
		if _, err := l.db.Exec(t.Context(), `update upstreams set heard_at = now()`); err != nil {
			t.Fatal(err)
		}
		if err := l.readUpstreams(t.Context()); err != nil {
			t.Fatal(err)
		}
		if paused {
			if _, err := l.upstreams.Pause(t.Context(), line.name, "operator:test"); err != nil {
				t.Fatal(err)
			}
		}
		l.beaten = time.Now()
		line.readAt = line.readAt.Add(-2 * time.Second)
		a := failing(l)
		a.job.Type, a.checked, a.generation = "ask", time.Now().Add(-2*time.Second), line.status.Generation
		a.jobType, _ = l.cfg.Types.Lookup("ask")
		if end := l.try(a); called == paused || (end.Outcome == queue.Interrupted) != paused {
			t.Errorf("paused %v: called %v, the attempt ends %s", paused, called, end.Outcome)
		}
	}
}

// However failures and reports cross, the worker's own run is over when all is reported: else its line stays shut for ever.
func TestNoRunIsLeftWhenAllIsReported(t *testing.T) {
	t.Parallel()
	l := newCrew(t, nil)
	for round := range 40 {
		all := make(chan struct{})
		go func() {
			defer close(all)
			var calls sync.WaitGroup
			for range 300 {
				a := failing(l)
				a.generation = int64(round % 2) // some were overtaken by a change of the breaker
				calls.Go(func() { l.reporter.failed(a, 0) })
			}
			calls.Wait()
		}()
		for reported := false; !reported; {
			l.reporter.flush(t.Context())
			select {
			case <-all:
				reported = true
			default:
			}
		}
		if l.onlyLine().run != 0 {
			t.Fatalf("round %d: a run of %d is left", round, l.onlyLine().run)
		}
	}
}

// The worker is told to stop while a visit is under way: it is made all the same, or its news and permits would be lost.
func TestAStopBreaksOffNoVisit(t *testing.T) {
	t.Parallel()
	l := newCrew(t, nil)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	told := make(chan bool)
	go func() {
		_, known := l.reporter.failed(failing(l), 0)
		told <- known
	}()
	<-l.reporter.wake
	l.reporter.flush(stopped)
	if !<-told {
		t.Error("the fleet did not hear of a failure")
	}
}

func TestAFailureThatComesAfterTheReporterHasStoppedWaitsForNobody(t *testing.T) {
	t.Parallel()
	l := newCrew(t, nil)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	l.reporter.run(stopped)
	l.giveUp()
	if _, known := l.reporter.failed(failing(l), 0); known {
		t.Error("nobody was there to tell")
	}
}

// narrow is a database that cannot take more than one end in a statement.
type narrow struct {
	pg.DB
	refused int
}

func (d *narrow) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	for _, q := range batch.QueuedQueries {
		if strings.Contains(q.SQL, "update attempts") && len(q.Arguments[1].(pgtype.FlatArray[pgtype.UUID])) > 1 {
			d.refused++
			return refusedBatch{err: fmt.Errorf("these ends take too long: %w", context.DeadlineExceeded)}
		}
	}
	return d.DB.SendBatch(ctx, batch)
}

// refusedBatch is the answer to a batch that was not taken.
type refusedBatch struct {
	pgx.BatchResults
	err error
}

func (r refusedBatch) Exec() (pgconn.CommandTag, error) { return pgconn.CommandTag{}, r.err }
func (r refusedBatch) Close() error                     { return r.err }

func TestABatchThatIsTooMuchIsWrittenInPieces(t *testing.T) {
	t.Parallel()
	db := &narrow{}
	l := newCrew(t, func(inner pg.DB) pg.DB { db.DB = inner; return db })
	for range 8 {
		a := failing(l)
		end := a.ends(interrupted(""))
		l.work.Add(1)
		l.recorder.record(end, a)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var recorder sync.WaitGroup
	recorder.Go(func() { l.recorder.run(ctx) })
	l.work.Wait()
	stop()
	recorder.Wait()
	if db.refused == 0 {
		t.Error("nothing was refused: this showed nothing")
	}
}

// mute is a Postgres that never answers: a statement takes as long as its context lets it.
type mute struct {
	pg.DB
	mu    sync.Mutex
	waits map[string][]time.Duration // by statement
}

func (m *mute) wait(ctx context.Context, sql string) error {
	begun := time.Now()
	<-ctx.Done()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waits[sql] = append(m.waits[sql], time.Since(begun))
	return ctx.Err()
}

// asked counts the statements that have a part in them.
func (m *mute) asked(part string) (n int) {
	for sql, waits := range m.waits {
		if strings.Contains(sql, part) {
			n += len(waits)
		}
	}
	return n
}

func (m *mute) Exec(ctx context.Context, sql string, _ ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, m.wait(ctx, sql)
}

func (m *mute) Query(ctx context.Context, sql string, _ ...any) (pgx.Rows, error) {
	return nil, m.wait(ctx, sql)
}

func (m *mute) QueryRow(ctx context.Context, sql string, _ ...any) pgx.Row {
	return noRow{m.wait(ctx, sql)}
}

func (m *mute) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	return refusedBatch{err: m.wait(ctx, batch.QueuedQueries[len(batch.QueuedQueries)-1].SQL)}
}

// noRow is what there is instead of a row.
type noRow struct{ err error }

func (r noRow) Scan(...any) error { return r.err }

// Whatever a worker asks a Postgres that does not answer, it gives up in time and asks again, and it can be stopped.
func TestNoStatementIsWaitedForLongerThanItsLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := &mute{waits: map[string][]time.Duration{}}
		l := crewOn(t, db)
		if _, err := l.join(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("joined: %v", err)
		}
		l.beaten = time.Now()
		l.learn(l.onlyLine(), upstream.Status{State: string(breaker.Closed)})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.live(ctx) }()
		for range 20 {
			l.heard(queue.ReadyChannel, l.onlyLine().name) // there is something to claim
			time.Sleep(15 * time.Second)
		}
		begun := time.Now()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > 2*statementLimit { // a claim, and the farewell
			t.Errorf("it stopped after %s", took)
		}
		for sql, waits := range db.waits {
			if most := slices.Max(waits); most > statementLimit {
				t.Errorf("%s was waited for: %s", most, sql)
			}
		}
		for _, part := range []string{"insert into claims", "set beat =", "from workers", "delete from cancels", "from delayed", "from upstreams"} {
			if n := db.asked(part); n < 2 {
				t.Errorf("%q was asked %d times", part, n)
			}
		}
	})
}

// When a worker stops and the ends of its calls cannot be written, it leaves them to rescue.
func TestEndsThatCannotBeWrittenDoNotKeepTheWorkerFromStopping(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := crewOn(t, &mute{waits: map[string][]time.Duration{}})
		a := failing(l)
		end := a.ends(done([]byte(`{}`)))
		l.work.Add(1)
		l.recorder.record(end, a)
		go l.recorder.run(t.Context())
		begun := time.Now()
		l.drain(false)
		if took := time.Since(begun); took != recordLimit {
			t.Errorf("it tried for %s, want %s", took, recordLimit)
		}
		l.work.Wait() // nobody waits for the end any more
	})
}

// A promotion of very many jobs leaves the rest to the next one: whoever does it has other things to do as well. Here there
// is no end of them.
func TestAPromotionIsBounded(t *testing.T) {
	t.Parallel()
	l := newCrew(t, nil)
	for _, sql := range []string{
		`create sequence promoted`,
		`create function come_back() returns trigger language plpgsql as $$ begin
			perform nextval('promoted');
			insert into delayed select old.*;
			return null;
		end $$`,
		`create trigger come_back after delete on delayed for each row execute function come_back()`,
		`insert into delayed (due_at, job_id, tenant, line) values (now(), gen_random_uuid(), 'default', 'openai:gpt-5')`,
	} {
		if _, err := l.db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for n := int64(1); n <= 2; n++ {
		if err := l.promoteDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		var statements int64
		if err := l.db.QueryRow(t.Context(), `select last_value from promoted`).Scan(&statements); err != nil {
			t.Fatal(err)
		}
		if statements != n*maxPromote {
			t.Errorf("%d statements in %d promotions, want %d in each", statements, n, maxPromote)
		}
	}
}

func TestABatchIsBoundedInJobsAndBytes(t *testing.T) {
	t.Parallel()
	r := newRecorder(&life{})
	add := func(n, size int) {
		for range n {
			r.queue = append(r.queue, pending{end: queue.End{Result: make([]byte, size)}})
		}
	}
	add(recordJobs+1, 1)
	if n := len(r.take()); n != recordJobs {
		t.Errorf("%d jobs in a batch, want %d", n, recordJobs)
	}
	r.take()
	add(3, recordBytes/2)
	if n := len(r.take()); n != 2 {
		t.Errorf("%d big results in a batch, want 2", n)
	}
	r.take()
	add(2, recordBytes+1)
	if n := len(r.take()); n != 1 {
		t.Errorf("%d results of more than a batch together, want 1", n)
	}
}

// Postgres refuses an end for a reason that no other way of writing it would help: a broken page, a trigger. The others do
// not wait for it.
func TestAnEndThatCannotBeWrittenKeepsNoOtherWaiting(t *testing.T) {
	t.Parallel()
	l := newCrew(t, nil)
	l.asks(t, 20)
	if err := l.queue.Join(t.Context(), l.id, []string{"ask"}, nil, 20); err != nil {
		t.Fatal(err)
	}
	if _, err := l.db.Exec(t.Context(), `update upstreams set heard_at = now()`); err != nil {
		t.Fatal(err)
	}
	line := l.onlyLine()
	jobs := l.claimJobs(t.Context(), line, queue.Gate{Upstream: line.name}, 20)
	l.work.Add(len(jobs))
	if _, err := l.db.Exec(t.Context(), fmt.Sprintf(`
		create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;
		create trigger refuse before update on jobs for each row when (old.id = '%s') execute function refuse()`, jobs[0].ID)); err != nil {
		t.Fatal(err)
	}
	var recorder sync.WaitGroup
	recorder.Go(func() { l.recorder.run(l.records) })
	t.Cleanup(func() { // or it would log when the test is over
		l.giveUp()
		recorder.Wait()
	})
	for _, a := range l.prepare(line, queue.Gate{}, jobs) {
		end := a.ends(done([]byte("{}")))
		l.recorder.record(end, a)
	}
	deadline := time.Now().Add(2 * time.Minute)
	for l.inFlight() > 1 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond) // between two looks
	}
	if n := l.inFlight(); n != 1 {
		t.Errorf("%d of %d ends are not written, want 1", n, len(jobs))
	}
}

// The wait of many jobs is over at once, after an outage of days, say. They fail as fast as they can be swept, and not a
// thousand a second.
func TestALookThatExpiresJobsLooksAgain(t *testing.T) {
	t.Parallel()
	l := newCrew(t, nil)
	if err := l.queue.Join(t.Context(), l.id, []string{"ask"}, nil, 20); err != nil {
		t.Fatal(err)
	}
	l.asks(t, 2500)
	if _, err := l.db.Exec(t.Context(), `with old as (update jobs set expires_at = now()) update ready set expires_at = now()`); err != nil {
		t.Fatal(err)
	}
	nudge(l.soon)
	for again := true; again; {
		select {
		case <-l.soon:
			if err := l.look(t.Context()); err != nil {
				t.Fatal(err)
			}
		default:
			again = false
		}
	}
	var left int
	if err := l.db.QueryRow(t.Context(), `select count(*) from jobs where state = 'queued'`).Scan(&left); err != nil || left > 0 {
		t.Errorf("%d jobs are left for the next look, %v", left, err)
	}
}

// A streamed answer is a success when its first event comes. Its end is none: an answer that began before an outage would
// otherwise end the fleet's run of failures in the midst of it.
func TestASuccessCountsOnceAndWhenItBegins(t *testing.T) {
	t.Parallel()
	l := newCrew(t, nil)
	report := func() breaker.Report {
		l.reporter.mu.Lock()
		defer l.reporter.mu.Unlock()
		return l.reporter.tally(l.onlyLine()).report
	}
	old := failing(l)
	l.started(old, llm.Start{At: time.Now()})
	if r := report(); r.OK != 1 {
		t.Errorf("after its first event: %+v", r)
	}
	go l.reporter.failed(failing(l), 0) // waits for a report that nobody sends here
	for report().Trailing == 0 {
		time.Sleep(time.Millisecond) // between two looks
	}
	l.succeeded(old, Result{}) // its last event
	if r := report(); r.OK != 1 || r.Trailing != 1 {
		t.Errorf("after its last event: %+v", r)
	}
}

// A failure of a call that began before the breaker moved on tells nothing of the provider since, but its job waits to hear
// what the breaker is all the same.
func TestAFailureFromBeforeAChangeIsNotCounted(t *testing.T) {
	t.Parallel()
	l := newCrew(t, nil)
	later := failing(l)
	later.generation = 1
	l.reporter.succeeded(later)
	go l.reporter.failed(failing(l), 0) // waits for a report that nobody sends here
	tally := func() (waiting int, r breaker.Report) {
		l.reporter.mu.Lock()
		defer l.reporter.mu.Unlock()
		t := l.reporter.tally(l.onlyLine())
		return len(t.waiting), t.report
	}
	for waiting := 0; waiting == 0; waiting, _ = tally() {
		time.Sleep(time.Millisecond) // between two looks
	}
	if _, r := tally(); r.Generation != 1 || r.OK != 1 || r.Failed != 0 || r.Trailing != 0 {
		t.Errorf("%+v", r)
	}
}

// Whose key is refused is decided by whether others succeed, so they tell it before the suspect tries again.
func TestASuspicionAsksForSuccessesAtOnce(t *testing.T) {
	t.Parallel()
	l := newCrew(t, nil)
	line := l.onlyLine()
	look := func() bool {
		if err := l.readUpstreams(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case <-l.reporter.wake:
			return true
		default:
			return false
		}
	}
	l.reporter.succeeded(failing(l))
	if look() {
		t.Error("a success alone is news")
	}
	if _, err := l.upstreams.Refuse(t.Context(), line.name, "other", breaker.Refused{Reason: breaker.Credentials, Credential: "old", Job: uuid.New()}); err != nil {
		t.Fatal(err)
	}
	if !look() {
		t.Error("a suspicion did not wake the reporter")
	}
	l.reporter.flush(t.Context())
	if s, _, err := l.upstreams.Get(t.Context(), line.name); err != nil || s.LastOKAt == nil {
		t.Errorf("the success was not told: %+v, %v", s, err)
	}
}

// Postgres refused every write for longer than the window, as a standby does until it is promoted, and answered every read:
// all beats stood still. The first worker whose beat is acknowledged again must not bury those who come a moment later.
func TestWhoCouldNotBeatItselfWatchesAnew(t *testing.T) {
	t.Parallel()
	l := newCrew(t, nil)
	l.watch.gap = time.Hour // between two looks here, on a busy machine
	for _, id := range []string{l.id, "other"} {
		if err := l.queue.Join(t.Context(), id, []string{"ask"}, nil, 1); err != nil {
			t.Fatal(err)
		}
	}
	bury := func() (left int64) {
		t.Helper()
		if err := l.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := l.db.QueryRow(t.Context(), `select count(*) from workers`).Scan(&left); err != nil {
			t.Fatal(err)
		}
		return left
	}
	longAgo := func() { l.watch.seen["other"] = sighting{since: time.Now().Add(-2 * l.cfg.DeathAfter)} }
	l.acknowledged(time.Now())
	bury()
	longAgo()
	l.beaten = time.Now().Add(-l.cfg.DeathAfter)
	if bury() != 2 {
		t.Error("who could not beat itself buried another")
	}
	l.acknowledged(time.Now())
	if bury() != 2 {
		t.Error("its first beat after that buried another")
	}
	longAgo()
	if bury() != 1 {
		t.Error("one that stood still while others beat was not buried")
	}
}

// A worker was frozen for longer than its calls may take. When it wakes up they all time out at once: that is its own doing,
// and no reason to shut the provider for everybody.
func TestWhatAFrozenWorkersCallsMetIsNoNewsOfTheProvider(t *testing.T) {
	t.Parallel()
	l := newCrew(t, nil)
	l.beaten = time.Now().Add(-l.cfg.DeathAfter)
	ended := make(chan bool, 10)
	for range cap(ended) {
		go func() {
			charged, _ := l.failed(failing(l), retry.Verdict{Class: retry.Failure})
			ended <- charged
		}()
	}
	for n := 0; n < cap(ended); {
		select {
		case charged := <-ended:
			n++
			if !charged {
				t.Error("a try without an answer is not charged")
			}
		case <-l.reporter.wake:
			l.reporter.flush(t.Context())
		}
	}
	if s, _, err := l.upstreams.Get(t.Context(), l.onlyLine().name); err != nil || s.Failures != 0 || s.State != string(breaker.Closed) {
		t.Errorf("the fleet heard of it: %+v, %v", s, err)
	}
}
