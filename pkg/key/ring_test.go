package key

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

// counted counts the questions that are put to a database.
type counted struct {
	pg.DB
	n atomic.Int64
}

func (c *counted) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	c.n.Add(1)
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
	if _, err := pool.Exec(t.Context(), `update api_keys set created_at = now() - interval '3 h', expires_at = now() - interval '2 h' where id = $1`, expired.ID); err != nil {
		t.Fatal(err)
	}
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
	for range 3 * maxKnown / maxLook {
		found := map[string]sight{}
		for range maxLook {
			id, _ := generate()
			found[id] = sight{}
			ring.note(id)
		}
		ring.keep(found)
		if len(ring.known) > maxKnown || len(ring.known) < maxLook || len(ring.used) > maxKnown {
			t.Fatalf("%d known, %d used", len(ring.known), len(ring.used))
		}
	}
}

func TestALookHasABound(t *testing.T) {
	t.Parallel()
	ring, _, db, _ := newRing(t)
	ring.looking.Lock() // all of them come while another look runs
	looks := map[*look]bool{}
	ring.mu.Lock()
	for range 2*maxLook + 1 {
		id, _ := generate()
		looks[ring.join(id)] = true
	}
	ring.mu.Unlock()
	ring.looking.Unlock()
	for l := range looks {
		<-l.done
		if l.err != nil || len(l.ids) > maxLook {
			t.Errorf("%d ids, %v", len(l.ids), l.err)
		}
	}
	if len(looks) != 3 || db.n.Load() != 3 {
		t.Errorf("%d looks, %d statements", len(looks), db.n.Load())
	}
}

// A key that is in use all the time stops working within FreshFor of its end.
func TestRevokedAndExpiredKeysStop(t *testing.T) {
	t.Parallel()
	ring, store, _, _ := newRing(t)
	short, shortText := make1(t, store, Order{Tenant: "acme", Name: "short", Scopes: []Scope{Read}, ExpiresIn: 700 * time.Millisecond})
	k, text := make1(t, store, order("acme", "a", Read))
	ring.mustKnow(t, text)
	ring.mustKnow(t, shortText)
	for err := error(nil); !errors.Is(err, ErrExpired); _, err = ring.Verify(t.Context(), shortText) {
		if time.Since(short.CreatedAt) > time.Minute {
			t.Fatalf("it expired and works: %v", err)
		}
	}
	begun := time.Now()
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
