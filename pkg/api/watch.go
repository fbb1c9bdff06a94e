package api

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// watch holds what many clients look at, so that ten thousand watchers cost as many queries as one. A value is handed
// out while it is younger than watchAge, counted from before it was read; whoever comes later waits for the one read
// that is under way. Errors are not kept.
type watch[K comparable, V any] struct {
	read func(ctx context.Context, key K) (V, error)

	flights singleflight.Group
	mu      sync.Mutex
	seen    map[K]seen[V]
}

type seen[V any] struct {
	value V
	at    time.Time
}

func newWatch[K comparable, V any](read func(ctx context.Context, key K) (V, error)) *watch[K, V] {
	return &watch[K, V]{read: read, seen: map[K]seen[V]{}}
}

func (w *watch[K, V]) get(ctx context.Context, key K) (V, error) {
	if v, ok := w.fresh(key); ok {
		return v, nil
	}
	flight := w.flights.DoChan(fmt.Sprint(key), func() (any, error) {
		// The read is not only for the client that happened to come first.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
		defer cancel()
		at := time.Now()
		v, err := w.read(ctx, key)
		if err == nil {
			w.keep(key, seen[V]{v, at})
		}
		return v, err
	})
	select {
	case r := <-flight:
		return r.Val.(V), r.Err
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

func (w *watch[K, V]) fresh(key K) (V, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.seen[key]
	return s.value, ok && time.Since(s.at) < watchAge
}

func (w *watch[K, V]) keep(key K, s seen[V]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) >= maxWatched {
		clear(w.seen)
	}
	w.seen[key] = s
}

// forget makes the next look a fresh one: whoever changed something wants to see it.
func (w *watch[K, V]) forget(key K) {
	w.flights.Forget(fmt.Sprint(key))
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.seen, key)
}

// forgetAll is forget for all keys. A read that is under way is still kept: it may be older than the change.
func (w *watch[K, V]) forgetAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.seen)
}
