package quota

import (
	"fmt"
	"math"
	"time"
)

// Dimension is one of the things that a provider limits.
type Dimension int

const (
	Requests      Dimension = iota
	Tokens                  // of the organisation
	ProjectTokens           // of the project; a call is charged to both
	Dimensions    = 3
)

func (d Dimension) String() string {
	switch d {
	case Requests:
		return "requests"
	case Tokens:
		return "tokens"
	case ProjectTokens:
		return "project tokens"
	}
	return fmt.Sprintf("dimension %d", int(d))
}

// Source says where the newest readings came from.
type Source string

const (
	Unknown Source = ""        // none came yet
	Headers Source = "headers" // of every answer
	Body    Source = "body"    // of refusals alone
	Blind   Source = "blind"   // none come
)

const (
	// DefaultWindow is assumed until a reading contradicts it.
	DefaultWindow = time.Minute

	minWindow = time.Second
	maxWindow = 31 * 24 * time.Hour

	// maxAmount bounds every count of calls and tokens, so that sums stay exact in a float64.
	maxAmount = 1e12

	// maxStepBack is how far the clock may step back before the row is taken for one from the future.
	maxStepBack = 5 * time.Second

	// bareAnswers in a row without a reading end the trust in headers.
	bareAnswers = 20

	// current is how long a limit that was heard of is surely still what it was.
	current = time.Minute

	// forgetAfter is how long a dimension that headers no longer name is still heeded, or its window if that is longer.
	forgetAfter = 10 * time.Minute
)

// Quota is the state of one upstream's quota. It is a plain value: a method returns the next one and changes nothing. The
// zero value has not heard of any limit. All times are the database's.
type Quota struct {
	Limits [Dimensions]Limit `json:",omitzero"`
	At     time.Time         `json:",omitzero"` // the levels are as of then
	Source Source            `json:",omitzero"`
	Bare   int               `json:",omitzero"` // answers in a row without a reading
	Usual  float64           `json:",omitzero"` // tokens that were booked for a call on average, of late; 0: not known

	Ring      Ring      `json:",omitzero"`
	StartsAt  time.Time `json:",omitzero"` // starts are booked up to here at the highest pace; see pace.go
	TokensAt  time.Time `json:",omitzero"` // the same for tokens
	NotBefore time.Time `json:",omitzero"` // nothing goes until then
	ProbedAt  time.Time `json:",omitzero"` // when a call last went although the level forbade it

	Hungry   time.Duration `json:",omitzero"` // how long the bucket has been kept near empty without any evidence; Headers: 0
	HungryAt time.Time     `json:",omitzero"` // up to when that was counted

	Turn  Turn  `json:",omitzero"`
	Slow  Slow  `json:",omitzero"`
	Ramp  Ramp  `json:",omitzero"`
	Cubic Cubic `json:",omitzero"`
}

// Limit is one dimension's bucket.
type Limit struct {
	Limit     float64       `json:",omitzero"` // calls or tokens that the full bucket holds; 0: not known
	Window    time.Duration `json:",omitzero"` // in which an empty bucket fills; 0: not known
	Level     float64       `json:",omitzero"` // what may be granted, the reserve included; below 0: debt
	SeenAt    time.Time     `json:",omitzero"` // when the newest observed call was admitted
	Remaining float64       `json:",omitzero"` // what the provider then said
	Counted   float64       `json:",omitzero"` // what was booked in the slot of SeenAt when that was heard: more may be, for the time after it
	Dip       Dip           `json:",omitzero"` // how far below its reserve the bucket was found lately
	Drain     float64       `json:",omitzero"` // a second: use by others, as estimated then; below 0: our estimates of costs are too high
	Price     Price         `json:",omitzero"` // of what is booked
}

// Known tells whether there is such a limit, as far as was heard.
func (l Limit) Known() bool { return l.Limit > 0 }

// Rate is the refill, in calls or tokens a second.
func (l Limit) Rate() float64 {
	if !l.Known() {
		return 0
	}
	return l.Limit / l.Window.Seconds()
}

// FullAt is when the bucket will be full if nothing is taken out of it.
func (l Limit) FullAt(now time.Time) time.Time {
	if !l.Known() || l.Level >= l.Limit {
		return now
	}
	return now.Add(duration((l.Limit - l.Level) / l.Rate()))
}

// Needed tells whether calls need permits now. They need none while no limit is known and nothing slows the pace.
func (q Quota) Needed(now time.Time) bool {
	for _, l := range q.Limits {
		if l.Known() {
			return true
		}
	}
	return now.Before(q.NotBefore) || !math.IsInf(q.slowed(now), 1)
}

// Misfit is a limit that a call exceeds on its own, however long it waits.
type Misfit struct {
	Dimension Dimension
	Limit     float64
	Window    time.Duration
	Requested float64
}

func (m Misfit) Error() string {
	return fmt.Sprintf("the request needs %.0f %s, and the provider allows %.0f in %s: it can never be sent; make it smaller",
		m.Requested, m.Dimension, m.Limit, m.Window)
}

// Fits tells whether a call of so many booked tokens can ever be sent, and if not, which limit is in the way. A limit is in
// nobody's way if it was not heard of for a minute, as it may have been raised, or if it was not seen to take what is
// booked. Take grants such a call all the same, for the provider to judge.
func (q Quota) Fits(tokens float64, now time.Time) (Misfit, bool) {
	for _, d := range []Dimension{Tokens, ProjectTokens} {
		if l := q.Limits[d]; l.Known() && now.Sub(l.SeenAt) < current && l.Price.full(l.Limit) && tokens > l.Limit {
			return Misfit{d, l.Limit, l.Window, tokens}, false
		}
	}
	return Misfit{}, true
}

// Advance refills the buckets up to now. Time that runs backwards refills nothing. A row from the future is a clock that
// was set back: what it says of times is forgotten, so that the next observation counts.
func (q Quota) Advance(now time.Time) Quota {
	if q.At.Sub(now) > maxStepBack {
		q = q.rebased()
	}
	for d, l := range q.Limits {
		if l.Known() && !q.At.IsZero() {
			q.Limits[d].Level = l.refilled(l.Level, q.drift(Dimension(d)), q.At, now)
		}
	}
	q.At = now
	q.Ring = q.Ring.moved(now)
	return q
}

// rebased keeps what was learned and forgets when. The levels stay: nothing is known of the time in between.
func (q Quota) rebased() Quota {
	for d := range q.Limits {
		q.Limits[d].SeenAt, q.Limits[d].Drain, q.Limits[d].Dip.EmptyAt = time.Time{}, 0, time.Time{}
	}
	q.At, q.Ring = time.Time{}, Ring{}
	q.StartsAt, q.TokensAt, q.NotBefore, q.ProbedAt, q.HungryAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
	q.Slow.At, q.Cubic.At, q.Ramp, q.Turn = time.Time{}, time.Time{}, Ramp{}, Turn{}
	return q
}

// amount makes a count of calls or tokens usable: NaN and what is below 0 become 0.
func amount(v float64) float64 {
	if !(v > 0) {
		return 0
	}
	return min(v, maxAmount)
}

// duration converts seconds, at most about a hundred years of them.
func duration(seconds float64) time.Duration {
	return time.Duration(min(max(seconds, 0), 3e9) * float64(time.Second))
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
