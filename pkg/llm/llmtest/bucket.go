package llmtest

import (
	"math"
	"time"
)

// bucket is a token bucket as OpenAI's limiter behaves, derived from its own numbers: the capacity is the whole limit of
// a window, it refills continuously at limit/window, and
//
//	wait  = (used + requested - limit) / limit * window    in the message of a 429
//	reset = (limit - remaining) / limit * window           in the headers: the time until it is full
//
// both cut, not rounded, to milliseconds. A limit of 0 is no limit.
type bucket struct {
	limit  int64
	window time.Duration
	level  float64   // what is left, as of at
	at     time.Time // never goes back
}

func newBucket(limit int64, window time.Duration, now time.Time) *bucket {
	return &bucket{limit: limit, window: window, level: float64(limit), at: now}
}

func (b *bucket) advance(now time.Time) {
	elapsed := now.Sub(b.at)
	if elapsed <= 0 {
		return
	}
	b.at = now
	b.level = min(float64(b.limit), b.level+elapsed.Seconds()/b.window.Seconds()*float64(b.limit))
}

// resize changes the limit and keeps what is used.
func (b *bucket) resize(limit int64, window time.Duration) {
	used := float64(b.limit) - b.level
	b.limit, b.window = limit, window
	b.level = max(0, float64(limit)-used)
}

func (b *bucket) unlimited() bool       { return b.limit <= 0 }
func (b *bucket) remaining() int64      { return int64(math.Floor(b.level)) }
func (b *bucket) used() int64           { return b.limit - b.remaining() }
func (b *bucket) fits(cost int64) bool  { return b.unlimited() || b.remaining() >= cost }
func (b *bucket) never(cost int64) bool { return !b.unlimited() && cost > b.limit }

// spend takes cost, down to empty: there is no debt.
func (b *bucket) spend(cost int64) {
	if !b.unlimited() {
		b.level = max(0, b.level-float64(cost))
	}
}

func (b *bucket) wait(cost int64) time.Duration { return b.share(b.used() + cost - b.limit) }
func (b *bucket) reset() time.Duration          { return b.share(b.used()) }

// share is how long n tokens take to refill.
func (b *bucket) share(n int64) time.Duration {
	d := time.Duration(float64(n) / float64(b.limit) * float64(b.window))
	return max(0, d.Truncate(time.Millisecond))
}
