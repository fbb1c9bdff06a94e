package llmtest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// maxCalls is how many calls the log keeps, unless MaxCalls says otherwise; the oldest go first, counts stay.
const maxCalls = 100_000

// Call is one request to the API, as the simulator saw it. All times are since the simulator was made.
type Call struct {
	Number int    `json:"number"` // from 1, in order of arrival
	ID     string `json:"id"`     // X-Client-Request-Id
	Model  string `json:"model"`
	Mode   string `json:"mode"` // what was done to it; "" is healthy

	At      time.Duration `json:"at_ns"`
	EndedAt time.Duration `json:"ended_at_ns"` // 0 while it is in flight

	Status    int    `json:"status"`    // the HTTP status answered; 0 when none was
	Delivered bool   `json:"delivered"` // the whole answer was handed to the connection while the client was there
	Tokens    int64  `json:"tokens"`    // charged at admission
	BodyBytes int    `json:"body_bytes"`
	Body      []byte `json:"body,omitempty"` // only with KeepBodies
}

// Counts sum up all calls since the simulator was made.
type Counts struct {
	Calls     int         `json:"calls"` // arrived
	InFlight  int         `json:"in_flight"`
	Held      int         `json:"held"` // of those in flight, waiting for Release
	Ended     int         `json:"ended"`
	Delivered int         `json:"delivered"`
	Tokens    int64       `json:"tokens"` // charged
	ByStatus  map[int]int `json:"by_status"`
}

// calls is the log and the counts, and wakes who waits for them to change.
type calls struct {
	mu      sync.Mutex
	log     []*Call // the newest, oldest first
	keep    int
	counts  Counts
	changed chan struct{} // closed and replaced at every change; nil while nobody waits
}

func (c *calls) begin(call Call) *Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Calls++
	c.counts.InFlight++
	call.Number = c.counts.Calls
	c.log = append(c.log, &call)
	if len(c.log) >= 2*c.keep { // dropping in bulk costs nothing per call
		c.log = slices.Clone(c.log[len(c.log)-c.keep:])
	}
	c.wake()
	return &call
}

// update changes a call under the lock, for others may be reading the log.
func (c *calls) update(call *Call, change func(*Call)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(call)
}

func (c *calls) end(call *Call, at time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	call.EndedAt = max(at, 1)
	c.counts.InFlight--
	c.counts.Ended++
	c.counts.Tokens += call.Tokens
	c.counts.ByStatus[call.Status]++
	if call.Delivered {
		c.counts.Delivered++
	}
	c.wake()
}

func (c *calls) held(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Held += n
	c.wake()
}

func (c *calls) wake() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

func (c *calls) snapshot() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.countsLocked()
}

func (c *calls) countsLocked() Counts {
	counts := c.counts
	counts.ByStatus = maps.Clone(counts.ByStatus)
	return counts
}

func (c *calls) list() []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	newest := c.log[max(0, len(c.log)-c.keep):]
	list := make([]Call, len(newest))
	for i, call := range newest {
		list[i] = *call
	}
	return list
}

// await blocks until the counts are as wanted.
func (c *calls) await(ctx context.Context, wanted func(Counts) bool) error {
	for {
		c.mu.Lock()
		if wanted(c.countsLocked()) {
			c.mu.Unlock()
			return nil
		}
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Calls is the log, oldest first.
func (s *Simulator) Calls() []Call { return s.calls.list() }

// Count is how many calls have arrived.
func (s *Simulator) Count() int { return s.calls.snapshot().Calls }

// Counts sums up all calls.
func (s *Simulator) Counts() Counts { return s.calls.snapshot() }

// Await blocks until the counts are as wanted or ctx ends, whose error it returns then.
func (s *Simulator) Await(ctx context.Context, wanted func(Counts) bool) error {
	return s.calls.await(ctx, wanted)
}

// AwaitCalls blocks until n calls have arrived in all.
func (s *Simulator) AwaitCalls(ctx context.Context, n int) error {
	return s.Await(ctx, func(c Counts) bool { return c.Calls >= n })
}

// AwaitHeld blocks until n calls are held at a gate.
func (s *Simulator) AwaitHeld(ctx context.Context, n int) error {
	return s.Await(ctx, func(c Counts) bool { return c.Held >= n })
}

// AwaitIdle blocks until no call is in flight.
func (s *Simulator) AwaitIdle(ctx context.Context) error {
	return s.Await(ctx, func(c Counts) bool { return c.InFlight == 0 })
}
