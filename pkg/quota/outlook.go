package quota

import (
	"math"
	"time"
)

// soon is how far from what one call needs a level may be for the limit to be what holds calls up: a fleet that is at its
// limit takes what refills about twice a second, and what was just granted is missing for a moment.
const soon = 2 * time.Second

// Outlook is what the next calls have to expect, as of the quota's time, for calls of the size that is usual.
type Outlook struct {
	Tight  Dimension     // the limit that holds calls up, where Held
	Held   bool          // some limit does
	Untold bool          // calls were refused lately for a limit that nobody tells
	Wait   time.Duration // until one call may start
	Room   int           // calls that the limits let start then, at once; 0: no limit is known
	Pace   float64       // calls a second from then on; 0: nothing bounds it, or the size of a call is not known
}

// Outlook follows from what refills, less what others are believed to use, within what a ramp, a slow_down or refusals leave.
func (q Quota) Outlook() Outlook {
	usual := Ask{TokensEach: max(q.Usual, 1)}
	o, room := Outlook{Pace: q.slowed(q.At), Untold: q.untold()}, math.Inf(1)
	tightest := time.Duration(0)
	for i, l := range q.Limits {
		d := Dimension(i)
		if !l.Known() {
			continue
		}
		if d == Requests || q.Usual > 0 {
			o.Pace = min(o.Pace, (l.Rate()-max(0, l.drain(q.drift(d))))/q.cost(d, usual))
		}
		room = min(room, (l.Level-q.margin(d, usual))/q.cost(d, usual))
		needed := q.needed(d, usual)
		o.Wait = max(o.Wait, l.waitFor(needed, q.drift(d), q.At))
		if free := l.waitFor(min(needed+l.Rate()*soon.Seconds(), l.Limit), q.drift(d), q.At); free > tightest {
			o.Tight, o.Held, tightest = d, true, free
		}
	}
	o.Wait = max(o.Wait, q.NotBefore.Sub(q.At))
	if !math.IsInf(room, 1) {
		o.Room = whole(math.Floor(room))
	}
	if math.IsInf(o.Pace, 1) {
		o.Pace = 0
	}
	return o
}

// untold tells whether a limit that nobody tells is heeded, and was met in the time in which the pace comes back to it.
func (q Quota) untold() bool {
	c := q.Cubic
	return q.Source == Blind && c.Rate > 0 && q.At.Sub(c.At) < cubicQuiet+2*c.back()
}
