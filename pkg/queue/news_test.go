package queue

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicedev/sluice/pkg/pg"
)

func (f fixture) news(known ...Known) []News {
	f.Helper()
	return must[[]News](f)(f.News(f.Context(), known...))
}

// latest is the one job of which there has to be news.
func (f fixture) latest(known Known) News {
	f.Helper()
	news := f.news(known)
	if len(news) != 1 {
		f.Fatalf("%d news of %+v; want 1", len(news), known)
	}
	if again := f.news(news[0].Known()); len(again) != 0 {
		f.Errorf("what is known is news: %+v", again)
	}
	return news[0]
}

// Each change of a job's state is news once, with what the job is told to be, but for the large parts.
func TestNewsOfALife(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := f.chats(1)[0]
	w := f.join("w")
	n := f.latest(Known{ID: id})
	if n.State != Queued || n.Tenant != DefaultTenant || n.Line() != gpt5 || n.Payload != nil || n.Result != nil || n.LastOutcome != nil {
		t.Errorf("queued: %+v", n)
	}
	first := f.claimOne(w)
	if n = f.latest(n.Known()); n.State != Running || n.Worker == nil || *n.Worker != w || n.Lease != 1 {
		t.Errorf("running: %+v", n)
	}
	f.end(w, End{JobID: id, Lease: first.Lease, Outcome: RateLimited, State: Delayed, Delay: time.Hour, Status: 429, Error: "slow down"})
	if n = f.latest(n.Known()); n.State != Delayed || n.LastOutcome == nil || *n.LastOutcome != RateLimited || *n.LastStatus != 429 || *n.LastError != "slow down" {
		t.Errorf("delayed: %+v", n)
	}
	f.due()
	must[int](f)(f.Promote(t.Context()))
	if n = f.latest(n.Known()); n.State != Queued || n.LastOutcome != nil {
		t.Errorf("promoted: %+v", n)
	}
	end := ok(f.claimOne(w))
	end.Result = json.RawMessage(`{"output_text":"h\u0069", "usage": {"input_tokens":1}, "response":{"id":"resp_1"}}`)
	f.end(w, end)
	n = f.latest(n.Known())
	if want := `{"output_text" : "h\u0069", "usage" : {"input_tokens":1}}`; n.State != Done || string(n.Result) != want || n.FinishedAt == nil {
		t.Errorf("done: %+v, %s; want %s", n, n.Result, want)
	}
}

func TestNewsLeavesOutLargeResults(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.join("w")
	for name, c := range map[string]struct {
		text string
		told bool
	}{
		"fits":                  {strings.Repeat("x", MaxNewsResult/2), true},
		"large":                 {strings.Repeat("x", MaxNewsResult), false},
		"large, and compresses": {strings.Repeat("x", 16*MaxNewsResult), false},
	} {
		id := f.chats(1)[0]
		end := ok(f.claimOne(w))
		end.Result = json.RawMessage(`{"output_text":"` + c.text + `"}`)
		f.end(w, end)
		if n := f.latest(Known{ID: id}); n.State != Done || (n.Result != nil) != c.told {
			t.Errorf("%s: %s, result of %d bytes", name, n.State, len(n.Result))
		}
	}
}

func TestNewsOfAJobThatIsGone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	known := f.latest(Known{ID: f.chats(1)[0]}).Known()
	f.exec(`delete from jobs`)
	for _, k := range []Known{known, {ID: uuid.New()}} {
		news := f.news(k)
		if len(news) != 1 || !news[0].Gone || news[0].ID != k.ID {
			t.Errorf("news of %+v: %+v", k, news)
		}
	}
}

// Two thousand watched jobs cost as many looks at an index, and no payload is read.
func TestNewsReadsLittle(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into jobs (type, state, priority, payload, max_attempts, finished_at)
		select 'chat', 'cancelled', 1, ('{"input":"' || (select string_agg(md5(random()::text || n || m), '') from generate_series(1, 300) m) || '"}')::json, 3, now()
		from generate_series(1, 5000) n`)
	f.exec(`analyze jobs`)
	const watched = `(select array_agg(id) from (select id from jobs order by md5(id::text) limit 2000) j)`
	if plan := f.explain(true, once, newsSQL, make([]any, 5)); !strings.Contains(plan, "Index Scan using jobs_pkey") {
		t.Error(plan)
	}

	ids := one[[]uuid.UUID](f, `select `+watched)
	known := make([]Known, len(ids))
	for i, id := range ids {
		known[i].ID = id
	}
	tx := f.begin()
	toasted := func() (blocks int64) {
		if err := tx.QueryRow(t.Context(), `select pg_stat_get_xact_blocks_fetched(reltoastrelid) from pg_class where oid = 'jobs'::regclass`).Scan(&blocks); err != nil {
			t.Fatal(err)
		}
		return blocks
	}
	if news := must[[]News](f)(f.With(tx).News(t.Context(), known...)); len(news) != 2000 || toasted() != 0 {
		t.Errorf("%d news, %d blocks of large values read", len(news), toasted())
	}
	must[Job](f)(f.With(tx).Get(t.Context(), DefaultTenant, ids[0]))
	if toasted() == 0 {
		t.Error("a payload is read without a block of large values: this shows nothing")
	}
}

func TestFrontIsInOrder(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.exec(`insert into ready (line, priority, seq, job_id, tenant, type, since) select 'other', 1, n, gen_random_uuid(), 'x', 'chat', now() from generate_series(1, 1200) n`)
	last := f.chats(2)
	first := f.add(NewJob{Type: "chat", Payload: prompt, Priority: new(1), Tenant: "alice"})
	want := []Standing{{first[0], "alice"}, {last[0], DefaultTenant}, {last[1], DefaultTenant}}
	if got := must[[]Standing](f)(f.Front(t.Context(), gpt5)); !slices.Equal(got, want) {
		t.Errorf("got %v; want %v", got, want)
	}
	if got := must[[]Standing](f)(f.Front(t.Context(), "other")); len(got) != MaxPosition {
		t.Errorf("%d jobs of a long line", len(got))
	}
}

// sent is a database that only counts.
type sent struct {
	pg.DB
	words []string
}

func (s *sent) Exec(_ context.Context, _ string, args ...any) (pgconn.CommandTag, error) {
	s.words = append(s.words, args[1].([]string)...)
	return pgconn.CommandTag{}, nil
}

// However many jobs change, ten notifications a second tell of it, the first one at once.
func TestAStateBellIsRungSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := &sent{}
		bell := NewStateBell(db, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { bell.Run(ctx); close(ended) }()
		bell.Ring("")
		synctest.Wait()
		if len(db.words) != 1 {
			t.Errorf("%d notifications of the first change", len(db.words))
		}
		for range 20_000 { // in a second of the bubble's clock
			bell.Ring("")
			time.Sleep(50 * time.Microsecond)
		}
		synctest.Wait()
		if n := len(db.words); n < 10 || n > 11 {
			t.Errorf("%d notifications in a second", n)
		}
		stop()
		<-ended
	})
}

// silent is a database that does not answer.
type silent struct{ pg.DB }

func (silent) Exec(ctx context.Context, _ string, _ ...any) (pgconn.CommandTag, error) {
	<-ctx.Done()
	return pgconn.CommandTag{}, ctx.Err()
}

// By the bubble's clock: whoever rings does not wait for ever for a database that does not answer.
func TestANotificationIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		NewBell(silent{}, slog.New(slog.DiscardHandler)).ringHere(t.Context(), "line")
		if took := time.Since(begun); took != bellLimit {
			t.Errorf("given up after %s, want %s", took, bellLimit)
		}
	})
}

// Whoever has nothing else to do sends what it rings itself, if it is time; else it is left to Run. Nothing is sent twice.
func TestABellIsRungByWhoeverIsThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := &sent{}
		bell := NewBell(db, slog.New(slog.DiscardHandler))
		want := func(when string, words ...string) {
			t.Helper()
			synctest.Wait()
			if !slices.Equal(db.words, words) {
				t.Errorf("%s: told of %v, want %v", when, db.words, words)
			}
		}
		bell.ringHere(t.Context(), "one")
		want("at once", "one")
		bell.ringHere(t.Context(), "two")
		bell.ringHere(t.Context())
		want("too soon after that", "one")
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { bell.Run(ctx); close(ended) }()
		time.Sleep(3 * readyPause) // of the bubble's clock
		want("when it is time", "one", "two")
		bell.ringHere(t.Context(), "three")
		want("again at once", "one", "two", "three")
		time.Sleep(3 * readyPause) // of the bubble's clock: for the turn to end
		stop()
		<-ended
	})
}
