package quota

import (
	"math"
	"time"
)

// The reserve is what is left in the bucket: a stock and not a flow, so that it costs no throughput. It is there for what
// cannot be known, how much others take at one go before an answer tells of it, and how unevenly chunks are spent. So it is
// learned: it was too small by as much as the bucket was found below it.
const (
	firstReserve = 0.05 // of the limit, until something was seen
	leastReserve = 0.02
	mostReserve  = 0.30

	// spare is how much more than the deepest dip is reserved.
	spare = 1.25

	// bottom is the share of a limit at which a bucket counts as empty. How much more was wanted is not known then: the
	// dip is taken for twice the reserve, but once only in the time in which the reserve refills.
	bottom = 0.01

	// A dip fades by e in dipWindows, or in longestDip if that is shorter.
	dipWindows = 5
	longestDip = time.Hour
)

// Dip is how far below its reserve a bucket was found lately, in shares of the limit.
type Dip struct {
	Depth   float64   `json:",omitzero"`
	EmptyAt time.Time `json:",omitzero"` // when it was last found empty and that was counted; zero: nothing was seen yet
}

// share of the limit that is to be left in the bucket.
func (d Dip) share() float64 {
	if d.EmptyAt.IsZero() {
		return firstReserve
	}
	return min(max(spare*d.Depth, leastReserve), mostReserve)
}

// seen takes a reading that was true at a time, so long after the one before it.
func (d Dip) seen(r Reading, window time.Duration, at time.Time, since time.Duration) Dip {
	if d.EmptyAt.IsZero() {
		return Dip{firstReserve / spare, at}
	}
	reserve, left := d.share(), r.Remaining/r.Limit
	d.Depth *= math.Exp(-since.Seconds() / min(dipWindows*window, longestDip).Seconds())
	switch {
	case left >= reserve:
	case left >= bottom:
		d.Depth = max(d.Depth, reserve-left)
	case at.Sub(d.EmptyAt).Seconds() > reserve*window.Seconds():
		d = Dip{min(max(d.Depth, 2*reserve), mostReserve/spare), at}
	}
	return d
}

// Reserve is what is left in a bucket for surprises, in calls or tokens; 0 where no limit is known.
func (q Quota) Reserve(d Dimension) float64 {
	l := q.Limits[d]
	if !l.Known() {
		return 0
	}
	return min(q.reserve(l), l.Limit)
}

// reserve of a limit, in calls or tokens: at least the refill of one slot, as the ring is not finer than that. Without
// headers the bucket is found empty by design, each time that a refusal tells of it, and so that teaches nothing.
func (q Quota) reserve(l Limit) float64 {
	share := firstReserve
	if q.Source == Headers {
		share = l.Dip.share()
	}
	return max(share*l.Limit, l.Rate()*Slot.Seconds())
}
