package main

import (
	"maps"
	"slices"
	"sync"
)

// ledger is what the clients were promised.
type ledger struct {
	mu        sync.Mutex
	accepted  []string            // ids of 2xx answers, repeats of a key not counted twice
	cancelled []string            // ids whose cancel was answered 200
	keys      map[string][]string // the different ids that came for a key: one, or something is wrong
	wrong     []string            // answers that no client should get
	asked     int                 // requests to enqueue
	unclear   int                 // of those without an answer, or with a 5xx
	skipped   int                 // not made: too many were open
}

func newLedger() *ledger { return &ledger{keys: map[string][]string{}} }

// change is the only way to write into it.
func (l *ledger) change(change func(*ledger)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

// keyed notes the answer to a request with a key, the first or a repeated one.
func (l *ledger) keyed(key, id string) {
	l.change(func(l *ledger) {
		if !slices.Contains(l.keys[key], id) {
			l.keys[key] = append(l.keys[key], id)
			l.accepted = append(l.accepted, id)
		}
	})
}

// copy is the ledger as it is now.
func (l *ledger) copy() *ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &ledger{accepted: slices.Clone(l.accepted), cancelled: slices.Clone(l.cancelled), keys: maps.Clone(l.keys),
		wrong: slices.Clone(l.wrong), asked: l.asked, unclear: l.unclear, skipped: l.skipped}
}

// broken are the promises that the answers alone break.
func (l *ledger) broken() (list []violation) {
	for key, ids := range l.keys {
		if len(ids) > 1 {
			list = append(list, violation{"an Idempotency-Key has one job", append([]string{key}, ids...)})
		}
	}
	if len(l.wrong) > 0 {
		list = append(list, violation{"no client gets such an answer", l.wrong})
	}
	return list
}
