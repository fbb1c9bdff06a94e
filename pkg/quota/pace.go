package quota

import (
	"math"
	"time"
)

const (
	// burst is how much faster than the refill a full bucket is emptied: all at once breeds refusals, as providers also
	// count over shorter times than they say.
	burst = 2.0

	// Growth of the assumed refill without headers: none for growAfter, then by a cube that doubles it within growBy more.
	growAfter = 10 * time.Second
	growBy    = 20 * time.Second
	maxGrowth = 100.0
	// growCalls a second must have been granted for that clock to run at full speed: a refusal costs one call, so the
	// clock of an upstream with few calls runs slower.
	growCalls = 3.0
)

// slowed is the highest rate of starts a second besides the limits: of a ramp, after a slow_down, after refusals that told
// nothing. +Inf: none.
func (q Quota) slowed(now time.Time) float64 {
	rate := min(q.Ramp.rate(now), q.Slow.rate(now, q.large()))
	if q.Source != Blind && now.Sub(q.Cubic.At) > cubicQuiet {
		return rate
	}
	return min(rate, q.Cubic.rate(now, q.lately(now, 2*time.Second)))
}

// starts is the highest rate at which calls may start now, in calls a second.
func (q Quota) starts(now time.Time) float64 {
	highest := math.Inf(1)
	if l := q.Limits[Requests]; l.Known() {
		highest = max(1, burst*q.drift(Requests).factor*l.Rate())
	}
	return min(highest, q.slowed(now))
}

// tokens is the highest rate at which tokens may be booked now, a second: at least a call a second, as a long window's
// refill is no pace.
func (q Quota) tokens(each float64) float64 {
	highest := math.Inf(1)
	for _, l := range q.Limits[Tokens:] {
		if l.Known() {
			highest = min(highest, max(each, burst*q.drift(Tokens).factor*l.Rate()/l.price(Tokens)))
		}
	}
	return highest
}

// growth is the factor of the assumed refill while only refusals tell, or nothing.
func (q Quota) growth() float64 {
	x := max(0, (q.Hungry-growAfter).Seconds()/growBy.Seconds())
	return min(drift+x*x*x, maxGrowth)
}

// starved moves the clock of that growth on, at a grant that leaves the bucket less than half full: only then is it the
// assumed refill that bounds the pace.
func (q Quota) starved(granted int, now time.Time) Quota {
	if q.Source == Headers {
		return q
	}
	since := min(max(0, now.Sub(q.HungryAt)), growAfter)
	q.HungryAt = now
	for _, l := range q.Limits {
		if l.Known() && l.Level < l.Limit/2 {
			q.Hungry += min(since, duration(float64(granted)/growCalls))
			return q
		}
	}
	return q
}

// lately is the starts a second over the given time before now, as booked.
func (q Quota) lately(now time.Time, over time.Duration) float64 {
	return q.Ring.between(Requests, now.Add(-over), now) / over.Seconds()
}

// guessed starts a second stand for a rate that nobody measured, as no permits were needed.
const guessed = 10.0

// pastStarts is the present rate of starts a second.
func (q Quota) pastStarts(now time.Time) float64 {
	if rate := q.lately(now, 4*time.Second); rate > 0 {
		return rate
	}
	return guessed
}

// Slow is the pace after the provider said slow_down: a limit on how fast one may grow, which can come long before the
// other limits.
type Slow struct {
	Rate float64   `json:",omitzero"` // starts a second, then
	At   time.Time `json:",omitzero"`
}

const (
	// slowGrowth in a slowStep is what OpenAI allows above largeLimit input tokens a minute. It names no time below that;
	// a minute then still gives a smooth slope and leaves nobody at half the pace for an hour.
	slowGrowth    = 1.5
	slowStep      = 15 * time.Minute
	slowStepSmall = time.Minute
	largeLimit    = 1e6 / 60.0 // tokens a second
	slowest       = 0.1        // starts a second

	// slowLasts is when the pace is surely free again: it has grown by 1.5^16, more than 600 times.
	slowLasts = 4 * time.Hour
)

func (q Quota) large() bool { return q.Limits[Tokens].Rate() >= largeLimit*0.999 }

// SlowDown halves the pace and lets it grow by at most half in 15 minutes where the limit is 1M tokens a minute or more, by
// half a minute elsewhere. age is the time since the call was refused; a call that was refused before the pace was last
// halved tells nothing new.
func (q Quota) SlowDown(age time.Duration, now time.Time) Quota {
	q = q.Advance(now)
	if !q.Slow.At.IsZero() && !now.Add(-max(0, age)).After(q.Slow.At) {
		return q
	}
	rate := min(q.pastStarts(now), q.starts(now))
	q.Slow = Slow{Rate: max(rate/2, slowest), At: now}
	return q
}

func (s Slow) rate(now time.Time, large bool) float64 {
	if s.At.IsZero() || now.Sub(s.At) > slowLasts {
		return math.Inf(1)
	}
	step := slowStepSmall
	if large {
		step = slowStep
	}
	return s.Rate * math.Pow(slowGrowth, max(0, now.Sub(s.At).Seconds())/step.Seconds())
}

// Ramp is the pace after a breaker closes: by time, counting starts, as a ramp that counts completions takes as long as the
// calls do.
type Ramp struct {
	Full        float64   `json:",omitzero"` // starts a second at the end; 0: not known
	From, Until time.Time `json:",omitzero"`
}

const (
	rampTime  = 8 * time.Second
	rampStart = 0.1  // of Full
	rampLeast = 10.0 // starts a second
)

// Opened remembers the pace at which the breaker trips: the starts a second that the caller counted, or if that is 0 what
// was granted lately.
func (q Quota) Opened(starts float64, now time.Time) Quota {
	if starts = amount(starts); starts == 0 {
		starts = q.lately(now, 4*time.Second)
	}
	q.Ramp = Ramp{Full: starts}
	return q
}

// Closed starts the ramp: from 10 % to 100 % in 8 s of the refill or the pace before the trip, whichever is less, and at
// least of 10 starts a second.
func (q Quota) Closed(now time.Time) Quota {
	full := math.Inf(1)
	if q.Ramp.Full > 0 {
		full = q.Ramp.Full
	}
	if l := q.Limits[Requests]; l.Known() {
		full = min(full, l.Rate())
	}
	if math.IsInf(full, 1) {
		full = rampLeast
	}
	q.Ramp = Ramp{Full: max(full, rampLeast), From: now, Until: now.Add(rampTime)}
	return q
}

func (r Ramp) rate(now time.Time) float64 {
	if r.Until.IsZero() || !now.Before(r.Until) {
		return math.Inf(1)
	}
	done := max(0, now.Sub(r.From).Seconds()/r.Until.Sub(r.From).Seconds())
	return r.Full * (rampStart + (1-rampStart)*done)
}

// Cubic is the pace where a refusal tells nothing but that it was too fast, in the manner of aws-sdk-go-v2's adaptive retry
// mode: 80 % of the rate that was sustained, back to it along a cubic, and past it ever faster.
type Cubic struct {
	Rate   float64   `json:",omitzero"` // starts a second that were sustained, as of the latest refusal
	At     time.Time `json:",omitzero"`
	Starts float64   `json:",omitzero"` // granted since
}

const (
	cubicBeta  = 0.8  // AWS has 0.7, for a fleet that is one of many
	cubicLeast = 0.02 // starts a second
	cubicMost  = 1e6

	// The cubic is back at the sustained rate after cubicTime, or after cubicCalls where calls are rare. AWS's own time is
	// that of a fleet of thousands a second: at ten a second it is refused every four seconds.
	cubicTime  = 15 * time.Second
	cubicCalls = 20.0

	// Two refusals at least cubicApart from each other tell what is sustained: the bucket was empty both times, so what was
	// granted in between is what refilled.
	cubicApart = 4 * time.Second

	// cubicQuiet is how long a refusal that told nothing is heeded while others tell something. It is short, for the pace that
	// a storm of refusals leaves is a small part of what headers say there is; and not much shorter, for what the headers do
	// not name may be a limit all the same.
	cubicQuiet = 20 * time.Second

	// maxPause bounds how long one refusal may stop the fleet. A longer wait is for its own job.
	maxPause = time.Minute
)

// rate is Rate*(1 + (1-beta)*((t-W)/W)^3): beta at once, 1 after W, 1.3 after 2 W. It is at most twice what was measured, as
// a pace that was not tried proves nothing, but that never takes it below 80 %, so that a pause costs no slow start.
func (c Cubic) rate(now time.Time, lately float64) float64 {
	if c.At.IsZero() {
		return math.Inf(1)
	}
	t := max(0, now.Sub(c.At).Seconds())
	w := c.back().Seconds()
	x := (t - w) / w
	measured := max(lately, c.Starts/max(t, cubicTime.Seconds()))
	return max(min(c.Rate*(1+(1-cubicBeta)*x*x*x), max(2*measured, cubicBeta*c.Rate)), cubicLeast)
}

// back is how long it takes from a refusal until the pace is what was sustained before it.
func (c Cubic) back() time.Duration { return max(cubicTime, duration(cubicCalls/c.Rate)) }

// refused is the pace after a refusal.
func (c Cubic) refused(starts float64, now time.Time) Cubic {
	switch apart := now.Sub(c.At); {
	case c.At.IsZero():
		c.Rate = starts
	case apart < cubicApart || c.Starts == 0:
		c.Rate *= cubicBeta
	default:
		c.Rate = c.Starts / apart.Seconds()
	}
	return Cubic{Rate: min(max(c.Rate, cubicLeast), cubicMost), At: now}
}

// throttled is a refusal that told nothing. One that was refused before the pace was last lowered tells nothing new: a
// burst of refusals is one event.
func (q Quota) throttled(at time.Time, retryAfter time.Duration, now time.Time) Quota {
	if q.Source == Unknown {
		q.Source, q.HungryAt = Blind, now
	}
	if !q.Cubic.At.IsZero() && !at.After(q.Cubic.At) {
		return q
	}
	q.Hungry = 0
	q.Cubic = q.Cubic.refused(min(q.pastStarts(now), q.slowed(now)), now)
	q.NotBefore = latest(q.NotBefore, now.Add(min(max(0, retryAfter), maxPause)))
	return q
}
