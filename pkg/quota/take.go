package quota

import (
	"math"
	"time"
)

const (
	// Tokens need a margin of their own, as costs are only estimates: of the call, and of the ones not yet observed,
	estimateError = 0.8
	unseenError   = 0.4
	// but no call has to wait for more than this share of the bucket, or it would starve.
	almostFull = 0.9

	// One take gets at most shareOfLevel of its worker's part of the level, or shareOfRefill of its part of the refill.
	shareOfLevel  = 4.0
	shareOfRefill = 2.0

	// probeAfter is how long a level may forbid everything without being heard of. Then one call goes to see: whatever was
	// observed, and whatever became of the limit since, the fleet finds out.
	probeAfter = 10 * time.Minute

	// Bounds of what may be asked.
	maxRequests = 10_000
	maxWorkers  = 100_000
	maxTau      = 5 * time.Second
	leastTau    = 50 * time.Millisecond

	// leastWait is the shortest hint: nothing was granted, so asking at once again would be polling.
	leastWait = 5 * time.Millisecond
)

// Ask is what a worker wants to start.
type Ask struct {
	Requests   int           // calls
	TokensEach float64       // estimate of what the provider charges for one
	Workers    int           // living ones of the fleet, this one included
	Tau        time.Duration // in which they are spent, evenly, and not before the end of which the worker asks again
	Delay      time.Duration // from the grant to the first of them, as it usually is
}

func (a Ask) sane() Ask {
	a.Requests = min(max(a.Requests, 0), maxRequests)
	a.TokensEach = math.Ceil(amount(a.TokensEach))
	a.Workers = min(max(a.Workers, 1), maxWorkers)
	a.Tau = min(max(a.Tau, leastTau), maxTau)
	a.Delay = min(max(a.Delay, 0), maxTau)
	return a
}

// Grant is a chunk of permits. The first call may start after the asked Delay, the others evenly over the asked Tau.
type Grant struct {
	Requests int
	Tokens   float64       // Requests times the asked TokensEach
	At       time.Time     // names the grant where its permits are returned or refused
	For      time.Duration // the permits live so long after At; then they are returned
	Wait     time.Duration // where nothing was granted: until the same ask gets something if nobody else takes it; never 0
}

// Take sells permits. A call of estimated cost c gets one while
//   - the level stays at the margin or above: the reserve, which follows how far the bucket was found below it (reserve.go),
//     or if that is more 80 % of c and 40 % of what was granted since the newest observation, as those are estimates. Nine tenths of the
//     limit are always enough for a call that costs no more, or it would starve; one that costs more than the limit goes
//     from a full bucket, for the provider to judge;
//   - it is not another call's turn (turn.go);
//   - the pace holds: twice the refill, and what a ramp, a slow_down or blind refusals leave (pace.go);
//   - the share holds: 4 times the worker's part of the level or twice its part of the refill in Tau, whichever is more.
//     The first call of a take is exempt from it;
//   - it is not before NotBefore.
func (q Quota) Take(a Ask, now time.Time) (Quota, Grant) {
	a = a.sane()
	q = q.Advance(now)
	if a.Requests == 0 {
		return q, Grant{At: now, Wait: a.Tau}
	}
	empty, paced := q.emptyFor(a, now), q.pacedFor(a, now)
	if empty > 0 && q.untilProbe(now) == 0 && paced == 0 {
		// Nothing but the level is in the way, for too long without a word: one call goes to see.
		a.Requests, q.ProbedAt, empty = 1, now, 0
	}
	if empty > 0 {
		if _, starves := q.couldStarve(a); starves {
			q.Turn = q.Turn.waits(a, empty, now)
		}
		empty = min(empty, q.untilProbe(now))
	}
	if wait := max(empty, paced); wait > 0 {
		return q, Grant{At: now, Wait: max(wait, leastWait)}
	}
	n := min(a.Requests, q.room(a), q.pacedRoom(a, now))
	return q.granted(n, a, now).starved(n, now), Grant{Requests: n, Tokens: float64(n) * a.TokensEach, At: now, For: a.Delay + 2*a.Tau}
}

// granted books a grant.
func (q Quota) granted(n int, a Ask, now time.Time) Quota {
	for d := range q.Limits {
		if l := &q.Limits[d]; l.Known() {
			l.Level = max(l.Level-float64(n)*q.cost(Dimension(d), a), -l.Limit)
		}
	}
	if refill, starves := q.couldStarve(a); starves {
		q.Turn = q.Turn.served(refill, now)
	}
	q.Cubic.Starts = min(q.Cubic.Starts+float64(n), maxAmount)
	q.Ring = q.Ring.book(n, a.TokensEach, now.Add(a.Delay), a.Tau)
	q.Usual = q.Ring.usual()
	q.StartsAt = booked(q.StartsAt, float64(n), q.starts(now), now)
	q.TokensAt = booked(q.TokensAt, float64(n)*a.TokensEach, q.tokens(a.TokensEach), now)
	return q
}

// cost of one call in a dimension, as the provider is believed to charge it.
func (q Quota) cost(d Dimension, a Ask) float64 {
	if d == Requests {
		return 1
	}
	return a.TokensEach * q.Limits[d].price(d)
}

// needed is the level from which one call may go.
func (q Quota) needed(d Dimension, a Ask) float64 {
	l, cost := q.Limits[d], q.cost(d, a)
	return min(cost+q.margin(d, a), max(cost, almostFull*l.Limit), l.Limit)
}

// margin is what has to be left beside what is granted.
func (q Quota) margin(d Dimension, a Ask) float64 {
	if d == Requests {
		return q.reserve(q.Limits[d])
	}
	l := q.Limits[d]
	unseen := l.price(d) * q.Ring.after(d, l.SeenAt)
	return max(q.reserve(l), estimateError*q.cost(d, a)+unseenError*unseen)
}

// emptyFor is how long the levels, or another one's turn, forbid a single call.
func (q Quota) emptyFor(a Ask, now time.Time) time.Duration {
	wait := q.Turn.yields(a, now)
	for d, l := range q.Limits {
		if l.Known() && q.cost(Dimension(d), a) > 0 {
			wait = max(wait, l.waitFor(q.needed(Dimension(d), a), q.drift(Dimension(d)), now))
		}
	}
	return wait
}

// untilProbe is how long it takes until a call goes in spite of the levels.
func (q Quota) untilProbe(now time.Time) time.Duration {
	heard := q.ProbedAt
	for _, l := range q.Limits {
		heard = latest(heard, l.SeenAt)
	}
	return max(0, probeAfter-now.Sub(heard))
}

// room is how many calls the levels and the share leave, where one is sure to fit.
func (q Quota) room(a Ask) int {
	room := math.Inf(1)
	for d, l := range q.Limits {
		cost := q.cost(Dimension(d), a)
		if !l.Known() || cost == 0 {
			continue
		}
		left := l.Level - q.margin(Dimension(d), a)
		refill := l.Rate() * q.drift(Dimension(d)).factor * a.Tau.Seconds()
		share := max(shareOfLevel*left, shareOfRefill*refill) / float64(a.Workers)
		room = min(room, math.Floor(min(left, share)/cost))
	}
	return whole(room)
}

// pacedFor is how long the pace forbids a single call.
func (q Quota) pacedFor(a Ask, now time.Time) time.Duration {
	wait := max(0, q.NotBefore.Sub(now))
	wait = max(wait, ahead(q.StartsAt, 1, q.starts(now), a.Tau, now), ahead(q.TokensAt, a.TokensEach, q.tokens(a.TokensEach), a.Tau, now))
	if wait == 0 {
		return 0
	}
	return roundUp(wait)
}

// pacedRoom is how many calls the pace and the share of it leave, where one is sure to fit.
func (q Quota) pacedRoom(a Ask, now time.Time) int {
	room := paced(q.StartsAt, q.starts(now), a, now)
	if a.TokensEach > 0 {
		room = min(room, paced(q.TokensAt, q.tokens(a.TokensEach), a, now)/a.TokensEach)
	}
	return whole(math.Floor(room))
}

// booked is up to when a pace is used after one more booking. Time that went by unused is lost.
func booked(at time.Time, amount, rate float64, now time.Time) time.Time {
	return latest(at, now).Add(duration(amount / rate))
}

// ahead is how long a booking has to wait: not at all if it still fits into the coming Tau, else until what is booked is
// over. The rate may fall meanwhile, so that is the only time that is sure.
func ahead(at time.Time, amount, rate float64, tau time.Duration, now time.Time) time.Duration {
	if wait := at.Sub(now); wait > max(0, tau-duration(amount/rate)) {
		return wait
	}
	return 0
}

// paced is what a pace leaves for the coming Tau, of which a worker gets twice its part.
func paced(at time.Time, rate float64, a Ask, now time.Time) float64 {
	if math.IsInf(rate, 1) {
		return rate
	}
	left := now.Add(a.Tau).Sub(latest(at, now)).Seconds()
	return rate * min(left, shareOfRefill*a.Tau.Seconds()/float64(a.Workers))
}

// whole is a count of at least 1.
func whole(v float64) int { return int(min(max(v, 1), maxRequests)) }
