package quota

import (
	"math"
	"time"
)

const (
	// drift is how much faster than it said a bucket is assumed to refill without evidence: an error then shows up as one
	// refusal, and not as throughput that is silently lost.
	drift = 1.02
	// driftAfter is how long headers may be silent before that.
	driftAfter = 5 * time.Second

	// Others' use is believed for drainHolds, then fades by e in drainFades, or bodyDrainFades where only refusals tell.
	drainHolds     = 2 * time.Second
	drainFades     = 5 * time.Second
	bodyDrainFades = time.Minute

	// The bounds of others' use, as shares of the refill. The upper one keeps the level rising: a drain that could reach
	// the refill would stop all sending, and so all evidence that it is wrong. The estimate itself may be as far below 0,
	// or what is rounded would count only where it is rounded up.
	minDrain = -0.3 // tokens; 0 for requests, whose cost is known
	maxDrain = 0.9

	// nearlyFull is the share above which two readings tell nothing about others: the bucket may have overflowed.
	nearlyFull = 0.97
	// smoothing is the time constant of the estimate of others' use, or if that is longer the time in which so many calls
	// refill: a reading is rounded to whole calls, which is much where few refill.
	smoothing      = 5 * time.Second
	smoothingCalls = 10.0
	// mostWeight bounds what one pair of readings counts: where calls are rare, its error is that of one estimate.
	mostWeight = 0.2

	// sameCall is how much later than the newest observed call another one must have been admitted to count as newer.
	sameCall = 20 * time.Millisecond
)

// drifting is how the refill is assumed to differ from what was said.
type drifting struct {
	factor float64       // of the refill
	after  time.Duration // without evidence
	fades  time.Duration // time constant of others' use
	least  float64       // that use, as a share of the refill, however little was estimated
}

func (q Quota) drift(d Dimension) drifting {
	least := minDrain
	if d == Requests {
		least = 0
	}
	if q.Source == Headers {
		return drifting{drift, driftAfter, drainFades, least}
	}
	return drifting{q.growth(), 0, bodyDrainFades, least}
}

// refilled is a level after the time between from and to. The rate is always above 0, so capping at the end is the same as
// capping at every step, and any number of steps give the same level.
func (l Limit) refilled(level float64, by drifting, from, to time.Time) float64 {
	return min(max(level+l.gain(by, from, to), -l.Limit), l.Limit)
}

// gain is the refill minus others' use between two times: the integral of rate*factor - drain*exp(-(age-2s)/fades), where
// age counts from the newest observation.
func (l Limit) gain(by drifting, from, to time.Time) float64 {
	if !to.After(from) {
		return 0
	}
	elapsed := to.Sub(from).Seconds()
	drifted := max(0, to.Sub(latest(from, l.SeenAt.Add(by.after))).Seconds())
	return l.Rate()*(elapsed+(by.factor-1)*drifted) - l.drain(by)*(l.faded(by.fades, to)-l.faded(by.fades, from))
}

// drain is others' use within its bounds, which follow a limit that changed since.
func (l Limit) drain(by drifting) float64 {
	return min(max(l.Drain, by.least*l.Rate()), maxDrain*l.Rate())
}

// faded is the integral of the fading factor from the newest observation to t, in seconds.
func (l Limit) faded(fades time.Duration, t time.Time) float64 {
	age, holds, k := t.Sub(l.SeenAt).Seconds(), drainHolds.Seconds(), fades.Seconds()
	if age <= holds {
		return age
	}
	return holds + k*(1-math.Exp(-(age-holds)/k))
}

// waitFor is how long it takes until the level reaches a target that is not above the limit, in whole milliseconds.
func (l Limit) waitFor(target float64, by drifting, now time.Time) time.Duration {
	missing := target - l.Level
	if missing <= 0 {
		return 0
	}
	low, high := time.Duration(0), duration(missing/((1-maxDrain)*l.Rate()))
	for high-low > 100*time.Microsecond {
		if mid := low + (high-low)/2; l.gain(by, now, now.Add(mid)) >= missing {
			high = mid
		} else {
			low = mid
		}
	}
	return roundUp(high)
}

// roundUp leaves room for a clock that counts in microseconds.
func roundUp(d time.Duration) time.Duration { return d.Truncate(time.Millisecond) + 2*time.Millisecond }

// Reading is what a provider said of one dimension when it admitted or refused a call.
type Reading struct {
	Limit     float64 // 0 or below: nothing was said
	Remaining float64 // below 0: nothing was said
	Reset     time.Duration
}

func (r Reading) valid() bool {
	return r.Limit >= 1 && r.Limit <= maxAmount && r.Remaining >= 0 && !math.IsInf(r.Remaining, 0)
}

// anchored takes a reading for the truth at the time of admission: what remained then, refilled since, minus the fleet's
// own bookings since, step by step through the ring.
func (l Limit) anchored(d Dimension, r Reading, window time.Duration, at time.Time, by drifting, ring Ring, now time.Time) Limit {
	r.Remaining = min(r.Remaining, r.Limit)
	l.Dip = l.Dip.seen(r, window, at, max(0, at.Sub(l.SeenAt)))
	l.Price, l.Drain = l.compared(d, r, by, at, ring)
	l.Limit, l.Window, l.SeenAt, l.Remaining, l.Counted = r.Limit, window, at, r.Remaining, ring.at(d, at)
	level, then := r.Remaining, at
	for i := ring.index(at) + 1; i < Slots; i++ {
		if start := ring.start(i); start.Before(now) {
			level, then = l.refilled(level, by, then, start), latest(then, start)
		}
		level -= l.price(d) * ring.amount(d, i)
	}
	l.Level = l.refilled(level, by, then, now)
	return l
}

// compared is what a second reading tells beside the one before it: the price of what we booked in between, and others'
// use, which is what is missing beyond that, smoothed. A pair that tells nothing of others lets the estimate fade.
func (l Limit) compared(d Dimension, r Reading, by drifting, at time.Time, ring Ring) (Price, float64) {
	between := at.Sub(l.SeenAt).Seconds()
	faded := l.Drain * math.Exp(-max(0, between)/by.fades.Seconds())
	if !l.Known() || l.Limit != r.Limit || !ring.covers(l.SeenAt) {
		return l.Price, faded
	}
	// At most so much was taken: less, if the bucket was full for a while.
	taken := l.Remaining + l.Rate()*between - r.Remaining
	booked := ring.between(d, l.SeenAt, at) + max(0, ring.at(d, l.SeenAt)-l.Counted)
	price := l.Price
	if d != Requests {
		price = price.paid(taken, booked, l.Limit)
	}
	if max(l.Remaining, r.Remaining) > nearlyFull*l.Limit {
		return price, faded
	}
	others := (taken - l.price(d)*booked) / between
	slow := smoothing.Seconds()
	if d == Requests {
		slow = max(slow, smoothingCalls/l.Rate())
	}
	keep := max(math.Exp(-between/slow), 1-mostWeight)
	most := maxDrain * l.Rate()
	return price, min(max(l.Drain*keep+others*(1-keep), -most), most)
}

// learned is the window that a reading tells: reset = (limit-remaining)/limit*window. Counts and times are rounded, so a
// reading means a range, a wide one when hardly anything is used; the present window is kept as long as it lies in it.
func (l Limit) learned(limit, used float64, reset time.Duration) time.Duration {
	present := l.Window
	if present == 0 {
		present = DefaultWindow
	}
	if !(used > 0) || reset < time.Millisecond || reset > maxWindow {
		return present
	}
	rounding := time.Millisecond.Seconds()
	if reset%time.Second == 0 {
		rounding = 1
	}
	scale := func(reset, used float64) float64 { return max(0, reset) * limit / used }
	lowest := scale(reset.Seconds()-rounding, used+1)
	// The call that brought the reading is charged by then: at least 1 is missing, however much was rounded.
	highest := scale(reset.Seconds()+rounding, max(used-1, 1))
	if p := present.Seconds(); lowest <= p && p <= highest {
		return present
	}
	return min(max(duration(scale(reset.Seconds(), used)), minWindow), maxWindow)
}
