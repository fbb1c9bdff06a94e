package worker

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
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
	types, err := jobtype.NewSet(jobtype.Type{Name: "ask", Upstream: "openai", Model: "gpt-5", Priority: 5, MaxAttempts: 5, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	db := pg.DB(pgtest.New(t))
	if wrap != nil {
		db = wrap(db)
	}
	l := newLife(New(db, db, upstream.New(db), Config{
		Types: types, Concurrency: 10, DeathAfter: time.Minute, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}), "crew")
	if err := l.upstreams.Ensure(t.Context(), l.upstreamNames()...); err != nil {
		t.Fatal(err)
	}
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
		end := interrupted("")
		end.JobID, end.Lease = a.job.ID, a.job.Lease
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
	for _, id := range []string{l.id, "other"} {
		if err := l.queue.Join(t.Context(), id, []string{"ask"}, 1); err != nil {
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
