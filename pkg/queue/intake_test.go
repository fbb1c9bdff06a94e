package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sluicedev/sluice/pkg/pg"
)

// wire is a database whose statements can be counted, held up, and have their replies lost.
type wire struct {
	pg.DB
	statements atomic.Int64
	jobs       atomic.Int64  // in them, again where they were repeated
	gate       chan struct{} // nil: open
	lose       atomic.Int64  // replies
}

func (w *wire) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	w.statements.Add(1)
	w.jobs.Add(int64(len(args[0].(pgtype.FlatArray[string])))) // of insert and earlier alike: a column of the rows
	if w.gate != nil {
		<-w.gate
	}
	rows, err := w.DB.Query(ctx, sql, args...)
	if err == nil && w.lose.Add(-1) >= 0 {
		rows.Close()
		return nil, io.ErrUnexpectedEOF
	}
	return rows, err
}

func (f fixture) intake() (*Intake, *wire) {
	w := &wire{DB: f.db}
	return NewIntake(New(w, f.types), NewBell(f.db, slog.New(slog.DiscardHandler))), w
}

// atOnce enqueues jobs that arrive while both lanes are busy, so that they share statements, and gives what became of each.
func atOnce(f fixture, i *Intake, w *wire, jobs []NewJob) ([]Enqueued, []error) {
	f.Helper()
	w.gate = make(chan struct{})
	made, errs := make([]Enqueued, len(jobs)), make([]error, len(jobs))
	var all sync.WaitGroup
	for n, job := range jobs {
		all.Go(func() { made[n], errs[n] = i.Enqueue(f.Context(), job) })
	}
	arrived := func() int {
		n := 0
		for _, l := range []*lanes{&i.plain, &i.keyed} {
			l.mu.Lock()
			n += len(l.waiting)
			l.mu.Unlock()
		}
		return n
	}
	for int(w.jobs.Load())+arrived() < len(jobs) { // in this order no job is counted twice
		time.Sleep(time.Millisecond) // between two looks
	}
	close(w.gate)
	all.Wait()
	return made, errs
}

func numbered(n int) []NewJob {
	jobs := make([]NewJob, n)
	for i := range jobs {
		jobs[i] = NewJob{Type: "chat", Payload: json.RawMessage(fmt.Sprintf(`{"input":"%d"}`, i))}
	}
	return jobs
}

func TestIntakeSharesStatements(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	i, w := f.intake()
	jobs := numbered(500)
	made, errs := atOnce(f, i, w, jobs)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if n := w.statements.Load(); n > 2+500/groupJobs+2 {
		t.Errorf("500 jobs that came at once took %d statements", n)
	}
	for n, m := range made {
		if m.State != Queued || m.Line != gpt5 || *m.Upstream != gpt5 || m.Priority != 5 || m.Replayed {
			t.Fatalf("got %+v", m)
		}
		if got := one[string](f, `select payload::text from jobs where id = $1`, m.ID); got != string(jobs[n].Payload) {
			t.Fatalf("job %d is %s", n, got)
		}
	}
	if n := one[int](f, `select count(*) from jobs j join ready r on r.job_id = j.id`); n != 500 {
		t.Errorf("%d jobs are in line", n)
	}
}

func TestIntakeParesOutTheJobThatPostgresRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`alter table jobs add constraint poison check (payload::text <> '{"input":"7"}')`)
	i, w := f.intake()
	_, errs := atOnce(f, i, w, numbered(40))
	for n, err := range errs {
		if n == 7 && pg.Code(err) != "23514" {
			t.Errorf("the refused job: %v", err)
		}
		if n != 7 && err != nil {
			t.Errorf("job %d shares its fate: %v", n, err)
		}
	}
	if n := one[int](f, `select count(*) from jobs`); n != 39 {
		t.Errorf("%d jobs are stored", n)
	}
}

func TestIntakeRefusesOnlyTheJobThatIsTooFarAhead(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	i, w := f.intake()
	jobs := numbered(10)
	jobs[3].ScheduledAt = new(time.Now().Add(40 * 24 * time.Hour))
	_, errs := atOnce(f, i, w, jobs)
	for n, err := range errs {
		var invalid *Invalid
		if n == 3 && (!errors.As(err, &invalid) || invalid.Field != "scheduled_at" || invalid.Index != 0) || n != 3 && err != nil {
			t.Errorf("job %d: %v", n, err)
		}
	}
	if n := w.statements.Load(); n > 4 {
		t.Errorf("%d statements: the others were not stored with it", n)
	}
}

func TestIntakeFindsWhatAStatementStoredWhoseReplyWasLost(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, key := range map[string]string{"without a key": "", "with one": "k"} {
		i, w := f.intake()
		w.lose.Store(1)
		made, err := i.Enqueue(t.Context(), NewJob{Tenant: name, Type: "chat", Payload: prompt, IdempotencyKey: key})
		if err != nil || made.Replayed || made.State != Queued {
			t.Fatalf("%s: %+v, %v", name, made, err)
		}
		if id := one[uuid.UUID](f, `select id from jobs where tenant = $1`, name); id != made.ID {
			t.Errorf("%s: the job is %v, and the answer says %v", name, id, made.ID)
		}
	}
}

func TestIntakeOfAKeyThatAnotherTransactionHolds(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tx := f.begin()
	held := NewJob{Type: "chat", Payload: prompt, IdempotencyKey: "held"}
	first, err := f.With(tx).Enqueue(t.Context(), held)
	if err != nil {
		t.Fatal(err)
	}
	i, _ := f.intake()
	waits := make(chan Enqueued)
	go func() {
		made, err := i.Enqueue(t.Context(), held)
		if err != nil {
			t.Error(err)
		}
		waits <- made
	}()
	var others sync.WaitGroup
	for n := range 20 {
		others.Go(func() {
			_, err := i.Enqueue(t.Context(), NewJob{Type: "chat", Payload: prompt, IdempotencyKey: fmt.Sprint(n)})
			if err != nil {
				t.Errorf("another key: %v", err)
			}
		})
	}
	others.Wait() // while the transaction is open
	select {
	case made := <-waits:
		t.Fatalf("%+v, before it is known what becomes of the key", made)
	default:
	}
	f.commit(tx)
	if made := <-waits; !made.Replayed || made.ID != first[0].ID {
		t.Errorf("got %+v, want a replay of %v", made, first[0].ID)
	}
}

func TestIntakeOfOneKeyAtTheSameMoment(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	i, w := f.intake()
	jobs := make([]NewJob, 64)
	for n := range jobs {
		jobs[n] = NewJob{Type: "chat", Payload: prompt, IdempotencyKey: "k"}
	}
	jobs[63].Payload = json.RawMessage(`{"input":"another"}`)
	made, errs := atOnce(f, i, w, jobs)
	fresh, reused, ids := 0, 0, map[uuid.UUID]bool{}
	for n, m := range made {
		var r *KeyReused
		if errors.As(errs[n], &r) && r.Index == 0 {
			reused++
			continue
		}
		if errs[n] != nil {
			t.Fatal(errs[n])
		}
		ids[m.ID] = true
		if !m.Replayed {
			fresh++
		}
	}
	if fresh != 1 || len(ids) != 1 || reused != 1 && reused != 63 {
		t.Errorf("%d new, %d ids, %d reused", fresh, len(ids), reused)
	}
}

func TestIntakeOutlivesAClient(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	i, w := f.intake()
	if _, err := i.names(t.Context(), 0); err != nil { // reads the clock
		t.Fatal(err)
	}
	w.gate = make(chan struct{})
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() {
		_, err := i.Enqueue(ctx, NewJob{Type: "chat", Payload: prompt})
		gone <- err
	}()
	for w.statements.Load() == 0 {
		time.Sleep(time.Millisecond) // between two looks
	}
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(w.gate)
	if _, err := i.Enqueue(t.Context(), NewJob{Type: "chat", Payload: prompt}); err != nil {
		t.Error(err)
	}
}

// TestIDsMadeHere shows that ids made in Go and by uuid_v7() sort together.
func TestIDsMadeHere(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	i, _ := f.intake()
	before := one[uuid.UUID](f, `select uuid_v7()`)
	names, err := i.names(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	made := names[0]
	after := one[uuid.UUID](f, `select uuid_v7()`)
	if made.Version() != 7 || made.Variant() != uuid.RFC4122 {
		t.Errorf("got %v, version %v, variant %v, %v", made, made.Version(), made.Variant(), err)
	}
	if !(before.String() < made.String() && made.String() < after.String()) {
		t.Errorf("%v, %v, %v: not in their order", before, made, after)
	}
}

// Workers are told of what may start now, whichever way it came in; a job that comes again is no news.
func TestAnIntakeTellsOfNewWork(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	i, _ := f.intake()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { i.bell.Run(ctx); close(ended) }()
	defer func() { stop(); <-ended }()
	conn := f.acquire()
	if _, err := conn.Exec(t.Context(), `listen `+ReadyChannel); err != nil {
		t.Fatal(err)
	}
	told := func(want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		got, err := conn.Conn().WaitForNotification(ctx)
		if err != nil || got.Payload != want {
			t.Fatalf("told %+v, %v; want %s", got, err, want)
		}
	}
	keyed := NewJob{Type: "chat", Payload: prompt, IdempotencyKey: "k"}
	must[Enqueued](f)(i.Enqueue(t.Context(), keyed))
	told(gpt5)
	must[Enqueued](f)(i.Enqueue(t.Context(), keyed))
	must[Enqueued](f)(i.Enqueue(t.Context(), NewJob{Type: "chat", Payload: prompt, Delay: new(time.Hour)}))
	must[[]Enqueued](f)(i.EnqueueAll(t.Context(), Jobs(NewJob{Type: "free", Payload: prompt}, keyed)))
	told("free")
}
