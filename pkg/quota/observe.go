package quota

import (
	"math"
	"time"
)

// Observation is what the headers of an answer said. Of the answers since its last report a worker needs to hand in only
// the one that was admitted last.
type Observation struct {
	Age      time.Duration // since the call was admitted: about since half a round trip after it was sent
	Readings [Dimensions]Reading
}

// Observe anchors the levels to what an answer's headers said. It counts by the time of admission, not by that of arrival:
// of each dimension only what is newer than the newest is taken, its limit and window included. What is older than the
// ring can't be replayed and counts as an answer without readings, unless nothing is known yet.
func (q Quota) Observe(o Observation, now time.Time) Quota {
	q = q.Advance(now)
	age := max(0, o.Age)
	at := now.Add(-age)
	heard := false
	for d, r := range o.Readings {
		if r.valid() && (!q.Limits[d].Known() || q.Ring.covers(at)) {
			heard, q.Source = true, Headers
			q = q.anchor(Dimension(d), r, r.Limit-r.Remaining, r.Reset, at, now)
		}
	}
	if !heard {
		return q.Unread(1, now)
	}
	q.Bare, q.Hungry = 0, 0
	return q.forgotten(o, at)
}

// anchor takes a reading, unless a newer one is known. used and reset tell the window: used refills in reset.
func (q Quota) anchor(d Dimension, r Reading, used float64, reset time.Duration, at, now time.Time) Quota {
	l := q.Limits[d]
	if l.Known() && at.Before(l.SeenAt.Add(sameCall)) {
		return q
	}
	q.Limits[d] = l.anchored(d, r, l.learned(r.Limit, used, reset), at, q.drift(d), q.Ring, now)
	return q
}

// forgotten drops limits that headers used to name and do not any more.
func (q Quota) forgotten(o Observation, at time.Time) Quota {
	for d, l := range q.Limits {
		if !o.Readings[d].valid() && at.Sub(l.SeenAt) > max(forgetAfter, l.Window) {
			q.Limits[d] = Limit{}
		}
	}
	return q
}

// Unread counts answers that told nothing. Enough of them end the trust in headers that came before.
func (q Quota) Unread(answers int, now time.Time) Quota {
	q.Bare = min(q.Bare+max(0, answers), bareAnswers)
	if q.Source == Headers && q.Bare >= bareAnswers {
		q = q.Advance(now)
		q.Source, q.HungryAt = Blind, now
	}
	return q
}

// Refusal is a 429 that refills by itself.
type Refusal struct {
	Granted    time.Time     // Grant.At of the permit
	Tokens     float64       // booked for the call: the Tokens of its grant, a call
	Age        time.Duration // since the call was refused: about since half a round trip before the answer came
	Said       Said
	RetryAfter time.Duration // 0: none
}

// Said is what the body of a refusal told: "Limit 30000, Used 29000, Requested 2000. Please try again in 2s". The zero
// value: nothing.
type Said struct {
	Dimension              Dimension
	Limit, Used, Requested float64
	Wait                   time.Duration
}

func (s Said) valid() bool {
	known := s.Dimension >= 0 && s.Dimension < Dimensions
	return known && Reading{Limit: s.Limit, Remaining: s.Used}.valid()
}

// tooLarge is a call that can never fit. That is the call's fault, and tells nothing of the level.
func (s Said) tooLarge() bool { return s.valid() && s.Requested > s.Limit }

// Refused takes a refused call's tokens back out of where they were booked (the request stays: failed calls count), and
// then anchors the level to what the body said: limit-used was left. The tokens are never given back in any other way, as
// what the provider says it has left has not been charged with them. A call that was refused because it can never fit
// changes no more than that.
//
// A refusal that tells nothing slows the rate of starts, and stops all of them for RetryAfter, at most a minute.
func (q Quota) Refused(r Refusal, now time.Time) Quota {
	q = q.Advance(now)
	q = q.rebooked(q.Ring.unbookFirst(math.Ceil(amount(r.Tokens)), r.Granted), r.Granted)
	at := now.Add(-max(0, r.Age))
	switch {
	case r.Said.tooLarge():
	case r.Said.valid():
		q = q.body(r.Said, at, now)
	default:
		q = q.throttled(at, r.RetryAfter, now)
	}
	return q
}

func (q Quota) body(s Said, at, now time.Time) Quota {
	if q.Source != Headers {
		q.Source, q.Hungry, q.HungryAt = Body, 0, now
	}
	left := max(0, s.Limit-s.Used)
	return q.anchor(s.Dimension, Reading{Limit: s.Limit, Remaining: left}, s.Used+s.Requested-s.Limit, s.Wait, at, now)
}

// rebooked replaces the ring by one with less in it and raises the levels by what was still to be subtracted from them:
// all of it where nothing was observed since the grant, else what is booked after the newest observation.
func (q Quota) rebooked(ring Ring, granted time.Time) Quota {
	for d, l := range q.Limits {
		if !l.Known() {
			continue
		}
		since := l.SeenAt
		if granted.After(since) {
			since = granted.Add(-Slot)
		}
		back := q.Ring.after(Dimension(d), since) - ring.after(Dimension(d), since)
		q.Limits[d].Level = min(l.Level+l.price(Dimension(d))*back, l.Limit)
	}
	q.Ring = ring
	return q
}

// Return gives back permits of a grant that will not be spent, to where they were booked. A worker that dies with its
// permits needs nobody to do this: the next observation is of a bucket that they were not taken from.
func (q Quota) Return(requests int, tokens float64, granted, now time.Time) Quota {
	q = q.Advance(now)
	n, t := amount(float64(requests)), amount(tokens)
	q.StartsAt = q.StartsAt.Add(-duration(n / q.starts(now)))
	q.TokensAt = q.TokensAt.Add(-duration(t / q.tokens(t/max(1, n))))
	return q.rebooked(q.Ring.unbookLast(n, t, granted), granted)
}
