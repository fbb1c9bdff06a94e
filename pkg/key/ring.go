package key

import (
	"context"
	"crypto/subtle"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// FreshFor is how long a look at a key holds: a key that was revoked stops working within it, in each process.
const FreshFor = 2 * time.Second

// Limits of a Ring.
const (
	maxKnown  = 10_000                // keys that are kept
	maxLook   = 1_000                 // ids in one statement
	lookPause = 20 * time.Millisecond // from one statement to the next
	lookLimit = 3 * time.Second       // of one statement
	usedPause = time.Minute           // between two records of what was used
	lastWords = 2 * time.Second       // for the last of them
)

// Why a key is not good. The last two are told only to whoever has the secret.
var (
	ErrUnknown = errors.New("the key is not known")
	ErrExpired = errors.New("the key has expired")
	ErrRevoked = errors.New("the key was revoked")
)

// Refused tells whether an error says that a key is not good, and not that nobody could look.
func Refused(err error) bool {
	return errors.Is(err, ErrUnknown) || errors.Is(err, ErrExpired) || errors.Is(err, ErrRevoked)
}

// Holder is whoever has shown a good key.
type Holder struct {
	KeyID, Tenant string
	Scopes        []Scope
}

// May tells whether the key has a scope, by name or by implication.
func (h Holder) May(scope Scope) bool { return Allow(h.Scopes, scope) }

// Ring verifies keys. It keeps those that it saw lately, and is safe for use by many goroutines.
type Ring struct {
	store *Store
	log   *slog.Logger

	looking sync.Mutex // held by the look that runs
	lookAt  time.Time  // not before this does the next one; guarded by looking

	mu    sync.Mutex
	known map[string]sight // by id
	next  *look            // which others may join; nil: none
	used  map[string]bool  // ids, since the last record
}

// look is one statement for many.
type look struct {
	ids   map[string]bool
	done  chan struct{}
	found map[string]sight
	err   error
}

// NewRing gives a ring on a store. What was used is recorded while Run runs.
func NewRing(store *Store, log *slog.Logger) *Ring {
	return &Ring{store: store, log: log, known: map[string]sight{}, used: map[string]bool{}}
}

// Verify tells who shows a key. The error says why it is not good ([Refused]), or that the database could not be asked.
func (r *Ring) Verify(ctx context.Context, text string) (Holder, error) {
	id, secret, ok := Parse(text)
	if !ok {
		return Holder{}, ErrUnknown
	}
	k, ok, err := r.find(ctx, id)
	if err != nil {
		return Holder{}, err
	}
	if !ok || subtle.ConstantTimeCompare(digest(secret), k.Hash) != 1 {
		return Holder{}, ErrUnknown
	}
	if err := k.over(); err != nil {
		return Holder{}, err
	}
	r.note(id)
	return Holder{KeyID: k.ID, Tenant: k.Tenant, Scopes: k.Scopes}, nil
}

// over says why a key works no longer; nil: it does.
func (k sight) over() error {
	switch {
	case k.Revoked:
		return ErrRevoked
	case k.Left != nil && time.Since(k.at).Seconds() >= *k.Left:
		return ErrExpired
	}
	return nil
}

// find gives a key as it was two seconds ago at most. What is not there is not remembered: there would be no end to it.
func (r *Ring) find(ctx context.Context, id string) (sight, bool, error) {
	r.mu.Lock()
	if k, ok := r.known[id]; ok && time.Since(k.at) < FreshFor {
		r.mu.Unlock()
		return k, true, nil
	}
	l := r.join(id)
	r.mu.Unlock()
	select {
	case <-l.done:
		k, ok := l.found[id]
		return k, ok, l.err
	case <-ctx.Done():
		return sight{}, false, ctx.Err()
	}
}

// join puts an id into the next look. r.mu is held.
func (r *Ring) join(id string) *look {
	if r.next == nil || len(r.next.ids) == maxLook {
		r.next = &look{ids: map[string]bool{}, done: make(chan struct{})}
		go r.run(r.next) // not for the first to come alone, so not by its context
	}
	r.next.ids[id] = true
	return r.next
}

// run looks when its turn has come. Until then others join it.
func (r *Ring) run(l *look) {
	r.looking.Lock()
	defer r.looking.Unlock()
	time.Sleep(time.Until(r.lookAt))
	r.close(l)
	ctx, cancel := context.WithTimeout(context.Background(), lookLimit)
	defer cancel()
	r.lookAt = time.Now().Add(lookPause)
	l.found, l.err = r.store.find(ctx, slices.Collect(maps.Keys(l.ids)))
	r.keep(l.found)
	close(l.done)
}

// close lets nobody join a look any more.
func (r *Ring) close(l *look) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == l {
		r.next = nil
	}
}

func (r *Ring) keep(found map[string]sight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known)+len(found) > maxKnown {
		clear(r.known)
	}
	maps.Copy(r.known, found)
}

func (r *Ring) note(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.used) < maxKnown {
		r.used[id] = true
	}
}

// Run records once a minute which keys were used, until ctx ends, and then once more. What fails is dropped: it serves
// people who wonder whether a key is still needed.
func (r *Ring) Run(ctx context.Context) {
	tick := time.NewTicker(usedPause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.record(ctx)
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
			defer cancel()
			r.record(ctx)
			return
		}
	}
}

func (r *Ring) record(ctx context.Context) {
	r.mu.Lock()
	ids := slices.Collect(maps.Keys(r.used))
	clear(r.used)
	r.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	if err := r.store.used(ctx, ids); err != nil {
		r.log.Warn("when keys were last used could not be recorded", "keys", len(ids), "error", err)
	}
}
