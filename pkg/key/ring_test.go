package key

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

// counted counts the questions that are put to a database.
type counted struct {
	pg.DB
	n     atomic.Int64
	asked time.Time // the latest; of one look at a time
}

func (c *counted) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	c.n.Add(1)
	c.asked = time.Now()
	return c.DB.Query(ctx, sql, args...)
}

func newRing(t *testing.T) (*Ring, *Store, *counted, *pgxpool.Pool) {
	t.Helper()
	pool := pgtest.New(t)
	db := &counted{DB: pool}
	return NewRing(NewStore(db), slog.New(slog.DiscardHandler)), NewStore(pool), db, pool
}

func (r *Ring) mustKnow(t *testing.T, text string) Holder {
	t.Helper()
	h, err := r.Verify(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestAGoodKeyIsLookedUpOnce(t *testing.T) {
	t.Parallel()
	ring, store, db, _ := newRing(t)
	k, text := make1(t, store, order("acme", "a", Operate))
	begun := time.Now()
	for range 1000 {
		if h := ring.mustKnow(t, text); h.KeyID != k.ID || h.Tenant != "acme" || !h.May(Read) || h.May(Enqueue) {
			t.Fatalf("%+v", h)
		}
	}
	if most := 1 + int64(time.Since(begun)/FreshFor); db.n.Load() > most {
		t.Errorf("%d looks, want %d", db.n.Load(), most)
	}
}

// A right id with a wrong secret is a stranger like any other.
func TestForgeries(t *testing.T) {
	t.Parallel()
	ring, store, db, pool := newRing(t)
	k, text := make1(t, store, order("acme", "a", Admin))
	_, secret, _ := Parse(text)
	otherID, otherSecret := generate()
	revoked, revokedText := make1(t, store, order("acme", "revoked", Admin))
	if _, err := store.Revoke(t.Context(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	expired, expiredText := make1(t, store, Order{Tenant: "acme", Name: "expired", Scopes: []Scope{Admin}, ExpiresIn: time.Hour})
	both, bothText := make1(t, store, order("acme", "both", Admin))
	if _, err := store.Revoke(t.Context(), both.ID); err != nil {
		t.Fatal(err)
	}
	expire(t, pool, expired.ID, both.ID)
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"wrong secret":              {compose(k.ID, otherSecret), ErrUnknown},
		"unknown id":                {compose(otherID, secret), ErrUnknown},
		"secret of another key":     {compose(revoked.ID, secret), ErrUnknown},
		"revoked":                   {revokedText, ErrRevoked},
		"revoked, and a guess":      {compose(revoked.ID, otherSecret), ErrUnknown},
		"expired":                   {expiredText, ErrExpired},
		"expired, and a guess":      {compose(expired.ID, otherSecret), ErrUnknown},
		"expired, and revoked":      {bothText, ErrRevoked},
		"nothing":                   {"", ErrUnknown},
		"the hash for the secret":   {compose(k.ID, encoding.EncodeToString(digest(secret))), ErrUnknown},
		"truncated":                 {text[:len(text)-1], ErrUnknown},
		"another prefix":            {"sluicf" + text[6:], ErrUnknown},
		"with a space":              {text + " ", ErrUnknown},
		"id alone":                  {k.ID, ErrUnknown},
		"a pattern instead of ids":  {compose("%%%%%%%%%%%%%%%%", secret), ErrUnknown},
		"a NUL for PostgreSQL":      {compose("\x00aaaaaaaaaaaaaaa", secret), ErrUnknown},
		"bytes that are no letters": {compose("\xff\xfeaaaaaaaaaaaaaa", secret), ErrUnknown},
	} {
		if h, err := ring.Verify(t.Context(), c.text); !errors.Is(err, c.want) || !Refused(err) || h.Tenant != "" {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
	before := db.n.Load()
	for range 100_000 {
		if _, err := ring.Verify(t.Context(), compose("\xffaaaaaaaaaaaaaaa", secret)); !errors.Is(err, ErrUnknown) {
			t.Fatal(err)
		}
	}
	if db.n.Load() != before {
		t.Error("what was never a key reached the database")
	}
	if len(ring.used) > 0 {
		t.Errorf("a use of %v is recorded, which were refused", ring.used)
	}
}

// A crowd with made-up keys, whose checksums are right, shares statements, leaves nothing behind, and does not keep a
// good key out.
func TestMadeUpKeysShareStatements(t *testing.T) {
	t.Parallel()
	ring, store, db, _ := newRing(t)
	k, text := make1(t, store, order("acme", "a", Read))
	const crowd, each = 500, 40
	begun := time.Now()
	var all sync.WaitGroup
	for range crowd {
		all.Go(func() {
			for range each {
				if _, err := ring.Verify(t.Context(), compose(generate())); !errors.Is(err, ErrUnknown) {
					t.Errorf("a made-up key: %v", err)
					return
				}
			}
		})
	}
	for range 20 {
		fresh, freshText := make1(t, store, order("acme", "new", Read))
		for want, text := range map[string]string{k.ID: text, fresh.ID: freshText} {
			if h := ring.mustKnow(t, text); h.KeyID != want {
				t.Errorf("%+v", h)
			}
		}
	}
	all.Wait()
	if most := int64(time.Since(begun)/lookPause) + 1; db.n.Load() > most || db.n.Load() < each {
		t.Errorf("%d statements for %d made-up keys in %s, want %d to %d", db.n.Load(), crowd*each, time.Since(begun), each, most)
	}
	ring.mu.Lock()
	defer ring.mu.Unlock()
	if len(ring.known) > 21 || ring.next != nil || len(ring.used) > 21 {
		t.Errorf("%d known, %d used: made-up keys are kept", len(ring.known), len(ring.used))
	}
}

func TestARingHasABound(t *testing.T) {
	t.Parallel()
	ring, _, _, _ := newRing(t)
	for range 2*maxKnown + 1 {
		id, _ := generate()
		ring.note(id)
		ring.keep(map[string]sight{id: {}})
		if _, kept := ring.known[id]; !kept || len(ring.known) > maxKnown || len(ring.used) > maxKnown {
			t.Fatalf("%d known, the latest among them: %t; %d used", len(ring.known), kept, len(ring.used))
		}
	}
}

func TestALookHasABound(t *testing.T) {
	t.Parallel()
	ring, _, db, _ := newRing(t)
	ring.looking.Lock() // all of them come while another look runs
	looks := map[*look]bool{}
	join := func() *look {
		ring.mu.Lock()
		defer ring.mu.Unlock()
		id, _ := generate()
		l := ring.join(id)
		looks[l] = true
		return l
	}
	full := join()
	for range 2 * maxLook {
		join()
	}
	last := join()
	if ring.close(full); join() != last {
		t.Error("a look that begins closes another one")
	}
	begun := time.Now()
	ring.looking.Unlock()
	for l := range looks {
		<-l.done
		if l.err != nil || len(l.ids) > maxLook {
			t.Errorf("%d ids, %v", len(l.ids), l.err)
		}
	}
	if len(looks) != 3 || db.n.Load() != 3 || time.Since(begun) < 2*lookPause {
		t.Errorf("%d looks, %d statements within %s", len(looks), db.n.Load(), time.Since(begun))
	}
}

// A key that is in use all the time stops working within FreshFor of its end.
func TestRevokedAndExpiredKeysStop(t *testing.T) {
	t.Parallel()
	ring, store, _, pool := newRing(t)
	short, shortText := make1(t, store, Order{Tenant: "acme", Name: "short", Scopes: []Scope{Read}, ExpiresIn: time.Hour})
	k, text := make1(t, store, order("acme", "a", Read))
	ring.mustKnow(t, text)
	ring.mustKnow(t, shortText)
	if _, err := pool.Exec(t.Context(), `update api_keys set expires_at = now() + interval '0.7 s' where id = $1`, short.ID); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	for err := error(nil); !errors.Is(err, ErrExpired); _, err = ring.Verify(t.Context(), shortText) {
		if time.Since(begun) > time.Minute {
			t.Fatalf("it expired and works: %v", err)
		}
	}
	begun = time.Now()
	if _, err := store.Revoke(t.Context(), k.ID); err != nil {
		t.Fatal(err)
	}
	revoked := time.Now()
	for {
		asked := time.Now()
		_, err := ring.Verify(t.Context(), text)
		if errors.Is(err, ErrRevoked) {
			break
		}
		if err != nil || asked.Sub(revoked) > FreshFor {
			t.Fatalf("%s after it was revoked: %v", time.Since(begun), err)
		}
	}
}

// A key ends at its time, and not with the next look at it.
func TestAKeyExpiresBetweenTwoLooks(t *testing.T) {
	t.Parallel()
	ago := func(at time.Duration) sight { return sight{at: time.Now().Add(-at), Left: new(60.0)} }
	if err := ago(time.Minute).over(); !errors.Is(err, ErrExpired) {
		t.Errorf("seen a minute before its end, a minute later: %v", err)
	}
	if err := ago(0).over(); err != nil {
		t.Errorf("a minute before its end: %v", err)
	}
}

// What is learned is as old as the question, however long the answer takes.
func TestALookIsAsOldAsItsQuestion(t *testing.T) {
	t.Parallel()
	ring, store, db, _ := newRing(t)
	k, text := make1(t, store, order("acme", "a", Read))
	ring.mustKnow(t, text)
	if at := ring.known[k.ID].at; at.After(db.asked) {
		t.Errorf("it is %s younger", at.Sub(db.asked))
	}
}

// scripted is a database whose answers are one function's.
type scripted struct {
	pg.DB
	n      atomic.Int64
	answer func(context.Context) error
}

func (s *scripted) Query(ctx context.Context, _ string, _ ...any) (pgx.Rows, error) {
	s.n.Add(1)
	return nil, s.answer(ctx)
}

func (s *scripted) Exec(ctx context.Context, _ string, _ ...any) (pgconn.CommandTag, error) {
	s.n.Add(1)
	return pgconn.CommandTag{}, s.answer(ctx)
}

var errAway = errors.New("no database")

// By the bubble's clock: a look that nobody answers is given up, and calls no key bad.
func TestALookIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := &scripted{answer: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		ring := NewRing(NewStore(db), slog.New(slog.DiscardHandler))
		begun := time.Now()
		if _, err := ring.Verify(t.Context(), compose(generate())); err == nil || Refused(err) || time.Since(begun) != lookLimit {
			t.Errorf("after %s: %v", time.Since(begun), err)
		}
	})
}

// By the bubble's clock: whoever comes in the pause after a look shares the next one.
func TestThePauseAfterALookGathersOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		db := &scripted{answer: func(context.Context) error { return errAway }}
		ring := NewRing(NewStore(db), slog.New(slog.DiscardHandler))
		verify := func() error {
			_, err := ring.Verify(t.Context(), compose(generate()))
			return err
		}
		if err := verify(); !errors.Is(err, errAway) {
			t.Fatal(err)
		}
		go verify()
		if synctest.Wait(); ring.next == nil {
			t.Fatal("nobody can join the look that waits for its turn")
		}
		if err := verify(); !errors.Is(err, errAway) {
			t.Error(err)
		}
		if n := db.n.Load(); n != 2 {
			t.Errorf("%d statements, want 2", n)
		}
	})
}

// By the bubble's clock: each minute what was used is recorded, once, and what fails is told.
func TestWhatWasUsedIsRecordedEachMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var said strings.Builder
		db := &scripted{answer: func(context.Context) error { return errAway }}
		ring := NewRing(NewStore(db), slog.New(slog.NewTextHandler(&said, nil)))
		ctx, stop := context.WithCancel(t.Context())
		go ring.Run(ctx)
		minute := func(statements int64, words int) {
			t.Helper()
			time.Sleep(usedPause)
			synctest.Wait()
			if n, lines := db.n.Load(), strings.Count(said.String(), "could not be recorded"); n != statements || lines != words {
				t.Errorf("%d statements, want %d; the log: %s", n, statements, said.String())
			}
		}
		ring.note("a")
		minute(1, 1)
		minute(1, 1) // without a use
		db.answer = func(context.Context) error { return nil }
		ring.note("a")
		minute(2, 1)
		stop()
		minute(2, 1)
	})
}

// While the database is away, nobody's key is called bad: those that were seen go on for a moment, then nobody can tell.
func TestWithoutTheDatabaseNoKeyIsBad(t *testing.T) {
	t.Parallel()
	ring, store, _, pool := newRing(t)
	_, text := make1(t, store, order("acme", "a", Read))
	ring.mustKnow(t, text)
	pool.Close()
	if _, err := ring.Verify(t.Context(), compose(generate())); err == nil || Refused(err) {
		t.Errorf("a key that nobody could look up: %v", err)
	}
	begun := time.Now()
	for err := error(nil); err == nil; _, err = ring.Verify(t.Context(), text) {
		if Refused(err) || time.Since(begun) > time.Minute {
			t.Fatalf("after %s: %v", time.Since(begun), err)
		}
	}
}

func TestWhoeverWaitsMayLeave(t *testing.T) {
	t.Parallel()
	ring, store, _, _ := newRing(t)
	_, text := make1(t, store, order("acme", "a", Read))
	ring.looking.Lock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ring.Verify(ctx, text); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	ring.looking.Unlock()
	ring.mustKnow(t, text) // the look went on without it
}

func TestUseIsRecordedOnceAMinute(t *testing.T) {
	t.Parallel()
	ring, store, _, pool := newRing(t)
	k, text := make1(t, store, order("acme", "a", Read))
	idle, _ := make1(t, store, order("acme", "idle", Read))
	lastUsed := func(id string) *time.Time {
		t.Helper()
		keys, err := store.List(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			if k.ID == id {
				return k.LastUsedAt
			}
		}
		return nil
	}
	ring.mustKnow(t, text)
	if lastUsed(k.ID) != nil {
		t.Error("it was recorded on the request's path")
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	ring.Run(ctx) // its last words
	first := lastUsed(k.ID)
	if first == nil || lastUsed(idle.ID) != nil {
		t.Fatalf("used: %v, idle: %v", first, lastUsed(idle.ID))
	}
	ring.mustKnow(t, text)
	ring.record(t.Context())
	if got := lastUsed(k.ID); !got.Equal(*first) {
		t.Errorf("twice in a minute: %v, %v", first, got)
	}
	if _, err := pool.Exec(t.Context(), `update api_keys set last_used_at = now() - interval '61 s' where id = $1`, k.ID); err != nil {
		t.Fatal(err)
	}
	ring.record(t.Context())
	if got := lastUsed(k.ID); !got.Before(*first) {
		t.Errorf("recorded again without a use: %v, then %v", first, got)
	}
	ring.mustKnow(t, text)
	ring.record(t.Context())
	if got := lastUsed(k.ID); got.Before(*first) {
		t.Errorf("a minute later: %v, then %v", first, got)
	}
}

// Two processes that record the same keys do not wait for each other.
func TestUseIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	ring, store, _, pool := newRing(t)
	k, text := make1(t, store, order("acme", "a", Read))
	ring.mustKnow(t, text)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	if err := NewStore(tx).used(t.Context(), []string{k.ID}); err != nil {
		t.Fatal(err)
	}
	if err := NewStore(pool).used(t.Context(), []string{k.ID}); err != nil { // would wait for ever
		t.Error(err)
	}
}

// Many use a ring at once while keys come, go and expire.
func TestARingUnderRace(t *testing.T) {
	t.Parallel()
	ring, store, _, _ := newRing(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 5 {
				k, text, err := store.Create(t.Context(), order("acme", "a", Read))
				if err != nil {
					t.Error(err)
					return
				}
				if h, err := ring.Verify(t.Context(), text); err != nil || h.KeyID != k.ID {
					t.Errorf("%+v, %v", h, err)
				}
				ring.record(t.Context())
			}
		})
	}
	all.Wait()
}
