package main

import (
	"maps"
	"slices"
	"sync"
)

// ledger is what the clients asked for, and what they were promised.
type ledger struct {
	mu       sync.Mutex
	accepted []string            // ids of 2xx answers, repeats of a key not counted twice
	done     []string            // ids of jobs that somebody saw done
	orders   map[string]orders   // by hand, by the id of the job
	keys     map[string][]string // the different ids that came for a key: one, or something is wrong
	wrong    []string            // answers that no client should get
	asked    int                 // requests to enqueue
	unclear  int                 // of those without an answer, or with a 5xx
	skipped  int                 // not made: too many were open
}

// orders are what was asked for one job by hand, and what came of it.
type orders struct {
	cancels, retries tally
	rests            string // in which ended state an answer left the job; "" once a retry was asked for, and where one may still come
	lease            int64  // the highest that an answer told: while the job rests, its own
}

// tally counts the answers to one kind of order. One without a clear answer may have been obeyed, or be so later.
type tally struct{ asked, obeyed, refused int }

func (t tally) unclear() int { return t.asked - t.obeyed - t.refused }

// allows tells whether an order may have been obeyed n times between two looks at its tally.
func (t tally) allows(n int, later tally) bool {
	return t.obeyed <= n && n <= later.asked-later.refused
}

func newLedger() *ledger { return &ledger{keys: map[string][]string{}, orders: map[string]orders{}} }

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

// copyOf is what was ordered for a job so far.
func (l *ledger) copyOf(id string) (o orders) {
	l.change(func(l *ledger) { o = l.orders[id] })
	return o
}

// copy is the ledger as it is now.
func (l *ledger) copy() *ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &ledger{accepted: slices.Clone(l.accepted), done: slices.Clone(l.done), orders: maps.Clone(l.orders), keys: maps.Clone(l.keys),
		wrong: slices.Clone(l.wrong), asked: l.asked, unclear: l.unclear, skipped: l.skipped}
}

// obeyed is how many orders by hand were answered 200.
func (l *ledger) obeyed() (cancels, retries int) {
	for _, o := range l.orders {
		cancels += o.cancels.obeyed
		retries += o.retries.obeyed
	}
	return cancels, retries
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
