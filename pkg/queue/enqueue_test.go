package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/pg"
)

func TestEnqueueGivesDefaults(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	made := must[[]Enqueued](f)(f.Enqueue(t.Context(),
		NewJob{Type: "chat", Payload: prompt},
		NewJob{Type: "chat", Payload: json.RawMessage(`{"input":"x","request":{"model":"gpt-5-mini"}}`), Priority: new(1), MaxAttempts: new(9), Tenant: "acme", CallbackURL: "https://a.example/x"},
		NewJob{Type: "free", Payload: json.RawMessage(`{}`)},
		NewJob{Type: "patient", Payload: prompt}))
	if made[0].Line != gpt5 || made[1].Line != small || made[2].Line != "free" || made[0].State != Queued || made[0].Replayed {
		t.Errorf("enqueued as %+v", made)
	}
	job := f.wantState(made[0].ID, Queued)
	if job.Priority != 5 || job.MaxAttempts != 3 || job.Attempts != 0 || job.Lease != 0 || *job.Upstream != gpt5 || job.ExpiresAt != nil || job.Worker != nil {
		t.Errorf("defaults are %+v", job)
	}
	other := must[Job](f)(f.Get(t.Context(), "acme", made[1].ID))
	if other.Priority != 1 || other.MaxAttempts != 9 || *other.Upstream != small || *other.CallbackURL != "https://a.example/x" {
		t.Errorf("given values are %+v", other)
	}
	if free := f.get(made[2].ID); free.Upstream != nil || free.Line() != "free" {
		t.Errorf("unpaced job waits with %v", free.Line())
	}
	if p := f.get(made[3].ID); !p.ExpiresAt.Equal(p.CreatedAt.Add(time.Hour)) {
		t.Errorf("max_wait ends at %v; created at %v", p.ExpiresAt, p.CreatedAt)
	}
	if _, err := f.Get(t.Context(), DefaultTenant, made[1].ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("another tenant's job: %v", err)
	}
	f.wantConsistent()
}

// The longest traceparent is kept; beyond it the job is, without one.
func TestALongTraceparentIsLeftOut(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	kept, job := strings.Repeat("t", maxTraceparent), NewJob{Type: "chat", Payload: prompt}
	job.Traceparent = kept
	f.add(job)
	job.Traceparent += "t"
	f.add(job)
	for want := range 2 {
		if got := one[int](f, `select count(*) from jobs where coalesce(traceparent, '') = $1`, kept[:want*maxTraceparent]); got != 1 {
			t.Errorf("%d jobs with a traceparent of %d bytes", got, want*maxTraceparent)
		}
	}
}

func TestEnqueueNamesJobAndField(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	long := strings.Repeat("é", MaxKey+1)
	for name, c := range map[string]struct {
		job   NewJob
		field string
	}{
		"type":              {NewJob{Type: "nope", Payload: prompt}, "type"},
		"priority low":      {NewJob{Type: "chat", Payload: prompt, Priority: new(0)}, "priority"},
		"priority high":     {NewJob{Type: "chat", Payload: prompt, Priority: new(11)}, "priority"},
		"attempts low":      {NewJob{Type: "chat", Payload: prompt, MaxAttempts: new(0)}, "max_attempts"},
		"attempts high":     {NewJob{Type: "chat", Payload: prompt, MaxAttempts: new(101)}, "max_attempts"},
		"delay below":       {NewJob{Type: "chat", Payload: prompt, Delay: new(-time.Second)}, "delay_ms"},
		"delay above":       {NewJob{Type: "chat", Payload: prompt, Delay: new(jobtype.MaxDelay + time.Second)}, "delay_ms"},
		"both":              {NewJob{Type: "chat", Payload: prompt, Delay: new(time.Second), ScheduledAt: new(time.Now())}, "delay_ms"},
		"too far":           {NewJob{Type: "chat", Payload: prompt, ScheduledAt: new(time.Now().Add(31 * 24 * time.Hour))}, "scheduled_at"},
		"too far, with key": {NewJob{Type: "chat", Payload: prompt, ScheduledAt: new(time.Now().Add(31 * 24 * time.Hour)), IdempotencyKey: "k"}, "scheduled_at"},
		"key":               {NewJob{Type: "chat", Payload: prompt, IdempotencyKey: long}, "idempotency_key"},
		"key, NUL":          {NewJob{Type: "chat", Payload: prompt, IdempotencyKey: "a\x00"}, "idempotency_key"},
		"key, no UTF-8":     {NewJob{Type: "chat", Payload: prompt, IdempotencyKey: "a\xff"}, "idempotency_key"},
		"callback":          {NewJob{Type: "chat", Payload: prompt, CallbackURL: strings.Repeat("a", MaxCallback+1)}, "callback_url"},
		"callback, UTF-8":   {NewJob{Type: "chat", Payload: prompt, CallbackURL: "https://a.example/\xff"}, "callback_url"},
		"payload":           {NewJob{Type: "chat", Payload: json.RawMessage(`{}`)}, "payload"},
		"model":             {NewJob{Type: "chat", Payload: json.RawMessage(`{"input":"x","request":{"model":"o9"}}`)}, "payload.request.model"},
	} {
		_, err := f.Enqueue(t.Context(), NewJob{Type: "chat", Payload: prompt, IdempotencyKey: "first"}, NewJob{Type: "free", Payload: json.RawMessage(`{}`)}, c.job)
		var invalid *Invalid
		if !errors.As(err, &invalid) || invalid.Index != 2 || invalid.Field != c.field {
			t.Errorf("%s: %v (%+v); want field %s of job 2", name, err, invalid, c.field)
		}
	}
	for name, jobs := range map[string][]NewJob{"none": {}, "too many": make([]NewJob, MaxBatch+1)} {
		var invalid *Invalid
		if _, err := f.Enqueue(t.Context(), jobs...); !errors.As(err, &invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := one[int](f, `select count(*) from jobs`); n != 0 {
		t.Errorf("%d jobs were stored", n)
	}
}

func TestEnqueueKeepsOrderOfALargeBatch(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	jobs := make([]NewJob, MaxBatch)
	for i := range jobs {
		jobs[i] = NewJob{Type: "free", Payload: fmt.Appendf(nil, `{"n":%d}`, i)}
		if i%3 == 0 {
			jobs[i].IdempotencyKey = fmt.Sprint("key ", MaxBatch-i)
		}
	}
	ids := f.add(jobs...)
	got := one[[]string](f, `select array_agg(j.payload->>'n' order by g.ord) from unnest($1::uuid[]) with ordinality g(id, ord) join jobs j using (id)`, ids)
	for i, n := range got {
		if n != fmt.Sprint(i) {
			t.Fatalf("id %d is of job %s", i, n)
		}
	}
	inLine := one[[]string](f, `select array_agg(j.payload->>'n' order by r.priority, r.seq) from ready r join jobs j on j.id = r.job_id`)
	if !slices.Equal(inLine, got) {
		t.Error("the batch stands in line in another order than it was sent")
	}
}

// One client that posts one job after another gets them started in that order, whichever connection each took.
func TestEnqueueIsFirstInFirstOutAcrossConnections(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var want []uuid.UUID
	first, second := f.acquire(), f.acquire()
	for _, conn := range []*pgxpool.Conn{first, second, first} {
		made := must[[]Enqueued](f)(f.With(conn).Enqueue(t.Context(), NewJob{Type: "chat", Payload: prompt}))
		want = append(want, made[0].ID)
	}
	var got []uuid.UUID
	for _, j := range f.claim(f.join("w"), 100) {
		got = append(got, j.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("claimed in the order %v; enqueued in %v", got, want)
	}
}

func (f fixture) acquire() *pgxpool.Conn {
	f.Helper()
	conn, err := f.db.Acquire(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(conn.Release)
	return conn
}

func TestEnqueueLater(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	now := one[time.Time](f, `select clock_timestamp()`)
	in := now.Add(time.Hour)
	ids := f.add(
		NewJob{Type: "patient", Payload: prompt, Delay: new(time.Hour)},
		NewJob{Type: "patient", Payload: prompt, ScheduledAt: &in},
		NewJob{Type: "chat", Payload: prompt, ScheduledAt: new(now.Add(-time.Hour))},
		NewJob{Type: "chat", Payload: prompt, Delay: new(time.Duration(0))},
		NewJob{Type: "chat", Payload: prompt, ScheduledAt: new(time.Time{})},
		NewJob{Type: "chat", Payload: prompt, Delay: new(jobtype.MaxDelay)})
	byDelay, byTime := f.wantState(ids[0], Delayed), f.wantState(ids[1], Delayed)
	if !byDelay.ScheduledAt.Equal(byDelay.CreatedAt.Add(time.Hour)) || !byTime.ScheduledAt.Equal(in) {
		t.Errorf("scheduled at %v and %v", byDelay.ScheduledAt, byTime.ScheduledAt)
	}
	if !byTime.ExpiresAt.Equal(in.Add(time.Hour)) {
		t.Errorf("max_wait counts from %v; want from scheduled_at", byTime.ExpiresAt)
	}
	f.wantState(ids[2], Queued)
	f.wantState(ids[3], Queued)
	f.wantState(ids[4], Queued)
	f.wantState(ids[5], Delayed)
	f.wantConsistent()
}

func TestPayloadIsKeptByteForByte(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, payload := range []string{
		`{"b":1e2,"a":1.0,"b":2,"input":"caf\u00e9 \ud83d\ude00 \/"}`,
		" {\n\t\"input\" : [ 1e-5 , -0 ] } ",
		`{"input":"` + strings.Repeat("x", 1<<20-12) + `"}`,
		`{"input":"\\u0000 \u2028"}`,
	} {
		id := f.add(NewJob{Type: "chat", Payload: json.RawMessage(payload)})[0]
		if got := string(f.get(id).Payload); got != payload {
			t.Errorf("%.100q came back as %.100q", payload, got)
		}
		viaSQL := one[uuid.UUID](f, `select enqueue_job('chat', $1::text::json)`, payload)
		if got := string(f.get(viaSQL).Payload); got != payload {
			t.Errorf("%.100q came back from SQL as %.100q", payload, got)
		}
	}
}

func TestIdempotencyKeyNamesOneJob(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	job := NewJob{Type: "chat", Payload: prompt, IdempotencyKey: "k"}
	first := must[[]Enqueued](f)(f.Enqueue(t.Context(), job))[0]
	again := must[[]Enqueued](f)(f.Enqueue(t.Context(), job))[0]
	if again.ID != first.ID || !again.Replayed || again.State != Queued || again.Line != gpt5 || first.Replayed {
		t.Errorf("first %+v, again %+v", first, again)
	}
	for name, other := range map[string]NewJob{
		"payload":  {Type: "chat", Payload: json.RawMessage(`{"input":"other"}`), IdempotencyKey: "k"},
		"type":     {Type: "patient", Payload: prompt, IdempotencyKey: "k"},
		"priority": {Type: "chat", Payload: prompt, IdempotencyKey: "k", Priority: new(5)},
		"delay":    {Type: "chat", Payload: prompt, IdempotencyKey: "k", Delay: new(time.Duration(0))},
		"callback": {Type: "chat", Payload: prompt, IdempotencyKey: "k", CallbackURL: "https://a.example"},
	} {
		_, err := f.Enqueue(t.Context(), NewJob{Type: "chat", Payload: prompt, IdempotencyKey: name}, NewJob{Type: "chat", Payload: prompt}, other)
		var reused *KeyReused
		if !errors.As(err, &reused) || reused.Index != 2 {
			t.Errorf("%s: %v", name, err)
		}
	}
	tenant := job
	tenant.Tenant = "acme"
	if made := must[[]Enqueued](f)(f.Enqueue(t.Context(), tenant))[0]; made.ID == first.ID || made.Replayed {
		t.Error("another tenant's key named this tenant's job")
	}
	if n := one[int](f, `select count(*) from jobs`); n != 2 {
		t.Errorf("%d jobs are there; want 2: a refused batch stores nothing", n)
	}
	f.wantConsistent()
}

func TestIdempotencyKeyTwiceInABatch(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	job := NewJob{Type: "chat", Payload: prompt, IdempotencyKey: "k"}
	earlier := NewJob{Type: "chat", Payload: prompt, IdempotencyKey: "earlier"}
	before := f.add(earlier)[0]
	made := must[[]Enqueued](f)(f.Enqueue(t.Context(), job, NewJob{Type: "chat", Payload: prompt}, job, earlier, earlier))
	if made[0].ID != made[2].ID || made[0].Replayed || !made[2].Replayed || made[1].ID == made[0].ID || made[3].ID != before || made[4].ID != before || !made[3].Replayed {
		t.Errorf("made %+v", made)
	}
	other := job
	other.Payload = json.RawMessage(`{"input":"other"}`)
	var reused *KeyReused
	if _, err := f.Enqueue(t.Context(), NewJob{Type: "chat", Payload: prompt}, job, job, other); !errors.As(err, &reused) || reused.Index != 3 {
		t.Errorf("the same key with another body in one batch: %v, %+v", err, reused)
	}
	earlier.Payload = other.Payload
	if _, err := f.Enqueue(t.Context(), job, job, earlier); !errors.As(err, &reused) || reused.Index != 2 {
		t.Errorf("a key of an earlier call, behind a repeated one: %v, %+v", err, reused)
	}
}

func TestIdempotencyKeyAtTheSameMoment(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ids := make([]uuid.UUID, 20)
	var news sync.Map
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			made, err := f.Enqueue(t.Context(), NewJob{Type: "chat", Payload: prompt, IdempotencyKey: "k"})
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = made[0].ID
			if !made[0].Replayed {
				news.Store(i, true)
			}
		})
	}
	all.Wait()
	first := 0
	news.Range(func(any, any) bool { first++; return true })
	if slices.ContainsFunc(ids, func(id uuid.UUID) bool { return id != ids[0] }) || first != 1 {
		t.Errorf("ids %v, %d of them new", ids, first)
	}
	f.wantConsistent()
}

func TestIdempotencyKeysInOppositeOrder(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const n = 200
	batch := make([]NewJob, n)
	for i := range batch {
		batch[i] = NewJob{Type: "chat", Payload: prompt, IdempotencyKey: fmt.Sprint(i)}
	}
	reversed := slices.Clone(batch)
	slices.Reverse(reversed)
	made := make([][]Enqueued, 8)
	var all sync.WaitGroup
	for i := range made {
		all.Go(func() {
			jobs := batch
			if i%2 == 1 {
				jobs = reversed
			}
			var err error
			if made[i], err = f.Enqueue(t.Context(), jobs...); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	slices.Reverse(made[1])
	for i := range n {
		if made[0][i].ID != made[1][i].ID {
			t.Fatalf("key %d names two jobs", i)
		}
	}
	if jobs := one[int](f, `select count(*) from jobs`); jobs != n {
		t.Errorf("%d jobs; want %d", jobs, n)
	}
}

// The key of a request that is still open in another transaction is waited for, and then known.
func TestIdempotencyKeyOfAnOpenTransaction(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	tx := f.begin()
	job := NewJob{Type: "chat", Payload: prompt, IdempotencyKey: "k"}
	first := must[[]Enqueued](f)(f.With(tx).Enqueue(t.Context(), job))[0]
	second := make(chan Enqueued, 1)
	go func() {
		made, err := f.Enqueue(t.Context(), job)
		if err != nil {
			t.Error(err)
			made = []Enqueued{{}}
		}
		second <- made[0]
	}()
	f.blocked(1)
	f.commit(tx)
	if got := <-second; got.ID != first.ID || !got.Replayed {
		t.Errorf("first %+v, second %+v", first, got)
	}
}

// A job is deleted, as it is old, between the insert that collides with its key and the look at whose the key is.
func TestIdempotencyKeyOfAJobThatIsBeingForgotten(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	job := NewJob{Type: "chat", Payload: prompt, IdempotencyKey: "k"}
	first := f.add(job)[0]
	f.exec(`create sequence statements`)
	f.exec(`create function forget() returns trigger language plpgsql as $$ begin
		if nextval('statements') = 1 then delete from jobs where idempotency_key = 'k'; end if; return null; end $$`)
	f.exec(`create trigger forget after insert on jobs for each statement execute function forget()`)
	made := must[[]Enqueued](f)(f.Enqueue(t.Context(), job))
	if len(made) != 1 || made[0].ID != first || !made[0].Replayed { // the delete went with the transaction that met it
		t.Errorf("%+v; want %s again", made, first)
	}
	if n := one[int](f, `select last_value from statements`); n != 2 {
		t.Errorf("%d inserts", n)
	}
}

func TestIdempotencyKeyHoldsAcrossGoAndSQL(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	at := time.Date(2020, 1, 2, 3, 4, 5, 678901234, time.FixedZone("", 3600))
	future := time.Now().Add(time.Hour)
	for i, job := range []NewJob{
		{Type: "chat", Payload: prompt},
		{Type: "chat", Payload: json.RawMessage(` {"input":"é\u00e9 😀"} `), Priority: new(3), MaxAttempts: new(7)},
		{Type: "chat", Payload: prompt, ScheduledAt: &at},
		{Type: "chat", Payload: prompt, ScheduledAt: &future},
		{Type: "free", Payload: json.RawMessage(`{"a":1,"a":2}`)},
	} {
		const sql = `select enqueue_job($1, $2::text::json, $3, $4, $5, $6)`
		job.IdempotencyKey = fmt.Sprint("go first ", i)
		first := f.add(job)[0]
		if id := one[uuid.UUID](f, sql, job.Type, string(job.Payload), job.Priority, job.MaxAttempts, job.ScheduledAt, job.IdempotencyKey); id != first {
			t.Errorf("job %d: SQL gave another id", i)
		}
		job.IdempotencyKey = fmt.Sprint("SQL first ", i)
		id := one[uuid.UUID](f, sql, job.Type, string(job.Payload), job.Priority, job.MaxAttempts, job.ScheduledAt, job.IdempotencyKey)
		if made := must[[]Enqueued](f)(f.Enqueue(t.Context(), job)); made[0].ID != id || !made[0].Replayed {
			t.Errorf("job %d: Go gave %+v", i, made[0])
		}
		_, err := f.db.Exec(t.Context(), sql, job.Type, `{"input":"other"}`, job.Priority, job.MaxAttempts, job.ScheduledAt, job.IdempotencyKey)
		if pg.Code(err) != "22023" || !strings.Contains(err.Error(), "idempotency_key") {
			t.Errorf("job %d: another body: %v", i, err)
		}
	}
	f.wantConsistent()
}

// Behind a pooler that knows no named statements the URL asks for another of pgx's modes, in which the server tells nothing
// of the types of what it is sent.
func TestIDsAreSentInEveryModeOfPgx(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		cfg := f.db.Config()
		cfg.ConnConfig.DefaultQueryExecMode = mode
		pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		q, job := New(pool, f.types), NewJob{Type: "chat", Payload: prompt, IdempotencyKey: mode.String()}
		first := must[[]Enqueued](f)(q.Enqueue(t.Context(), job))[0]
		again := must[[]Enqueued](f)(q.Enqueue(t.Context(), job))[0]
		if again.ID != first.ID || !again.Replayed {
			t.Errorf("%s: %+v, then %+v", mode, first, again)
		}
		single := must[Enqueued](f)(NewIntake(q, NewBell(pool, slog.New(slog.DiscardHandler))).Enqueue(t.Context(), job))
		if single.ID != first.ID || !single.Replayed {
			t.Errorf("%s, alone: %+v, then %+v", mode, first, single)
		}
		if err := q.Forget(t.Context(), uuid.New()); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
}
