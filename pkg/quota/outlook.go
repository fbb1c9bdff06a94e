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
	Tight Dimension     // the limit that holds calls up, where Held
	Held  bool          // some limit does
	Wait  time.Duration // until one call may start
	Pace  float64       // calls a second from then on; 0: nothing bounds it, or the size of a call is not known
}

// Outlook follows from what refills, less what others are believed to use, within what a ramp, a slow_down or refusals leave.
func (q Quota) Outlook() Outlook {
	usual := Ask{TokensEach: q.usualTokens()}
	o := Outlook{Pace: q.slowed(q.At)}
	tightest := time.Duration(0)
	for i, l := range q.Limits {
		d := Dimension(i)
		cost := q.cost(d, usual)
		if !l.Known() || cost == 0 {
			continue
		}
		o.Pace = min(o.Pace, (l.Rate()-max(0, l.drain()))/cost)
		o.Wait = max(o.Wait, l.waitFor(q.needed(d, usual), q.drift(), q.At))
		if free := l.waitFor(q.needed(d, usual)+l.Rate()*soon.Seconds(), q.drift(), q.At); free > tightest {
			o.Tight, o.Held, tightest = d, true, free
		}
	}
	o.Wait = max(o.Wait, q.NotBefore.Sub(q.At))
	if math.IsInf(o.Pace, 1) {
		o.Pace = 0
	}
	return o
}

// usualTokens is what was booked for a call on average, over the ring; 0 if it holds none.
func (q Quota) usualTokens() float64 {
	calls, tokens := 0.0, 0.0
	for i := range Slots {
		calls += float64(q.Ring.Requests[i])
		tokens += float64(q.Ring.Tokens[i])
	}
	if calls == 0 {
		return 0
	}
	return tokens / calls
}
