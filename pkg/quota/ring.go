package quota

import (
	"math"
	"time"
)

// The ring's size: it covers 16 s in a row that stays small. An observation older than that can't be replayed.
const (
	Slots = 64
	Slot  = 250 * time.Millisecond
)

// Ring is the fleet's own starts, by the time for which they are booked. Oldest slot first; the newest may lie ahead.
type Ring struct {
	At       time.Time // start of the newest slot
	Requests [Slots]int32
	Tokens   [Slots]int32
}

// moved makes room for slots up to the given time. It never moves back.
func (r Ring) moved(to time.Time) Ring {
	to = to.Truncate(Slot)
	shift := int64(to.Sub(r.At) / Slot)
	if r.At.IsZero() || shift >= Slots {
		return Ring{At: to}
	}
	if shift <= 0 {
		return r
	}
	next := Ring{At: to}
	copy(next.Requests[:], r.Requests[shift:])
	copy(next.Tokens[:], r.Tokens[shift:])
	return next
}

// start of a slot.
func (r Ring) start(i int) time.Time { return r.At.Add(-time.Duration(Slots-1-i) * Slot) }

// index of the slot that a time lies in, from -1 (older than the ring) to Slots (newer).
func (r Ring) index(t time.Time) int {
	behind := r.At.Sub(t.Truncate(Slot)) / Slot
	return int(Slots - 1 - min(max(behind, -1), Slots))
}

// covers tells whether everything that was booked since then is still in the ring.
func (r Ring) covers(t time.Time) bool { return r.index(t) >= 0 }

// amount of calls or tokens booked in a slot.
func (r Ring) amount(d Dimension, i int) float64 {
	if d == Requests {
		return float64(r.Requests[i])
	}
	return float64(r.Tokens[i])
}

// at is what is booked in the slot that a time lies in; 0 if that is not in the ring.
func (r Ring) at(d Dimension, t time.Time) float64 {
	if i := r.index(t); i >= 0 && i < Slots {
		return r.amount(d, i)
	}
	return 0
}

// between is what is booked in the slots after the one that after lies in, up to and with the one that until lies in.
func (r Ring) between(d Dimension, after, until time.Time) (sum float64) {
	for i := r.index(after) + 1; i <= min(r.index(until), Slots-1); i++ {
		sum += r.amount(d, i)
	}
	return sum
}

// after is what is booked in the slots after the one that t lies in, up to the end.
func (r Ring) after(d Dimension, t time.Time) float64 { return r.between(d, t, r.At) }

// book books n calls, the first one now and the others evenly over the interval.
func (r Ring) book(n int, tokens float64, now time.Time, over time.Duration) Ring {
	r = r.moved(now.Add(over))
	for i := range n {
		at := min(max(r.index(now.Add(over*time.Duration(i)/time.Duration(n))), 0), Slots-1)
		r.Requests[at] = add(r.Requests[at], 1)
		r.Tokens[at] = add(r.Tokens[at], tokens)
	}
	return r
}

// unbookLast takes calls and tokens out of the slots from a time on, the latest first: what was not spent is the end.
func (r Ring) unbookLast(calls, tokens float64, from time.Time) Ring {
	for i := Slots - 1; i >= max(r.index(from), 0); i-- {
		r, calls, tokens = r.unbook(i, calls, tokens)
	}
	return r
}

// unbookFirst takes tokens out of the slots from a time on, the earliest first.
func (r Ring) unbookFirst(tokens float64, from time.Time) Ring {
	for i := max(r.index(from), 0); i < Slots; i++ {
		r, _, tokens = r.unbook(i, 0, tokens)
	}
	return r
}

// unbook takes as much as there is out of a slot, and says what is left to be taken elsewhere.
func (r Ring) unbook(i int, calls, tokens float64) (Ring, float64, float64) {
	c, t := min(calls, float64(r.Requests[i])), min(tokens, float64(r.Tokens[i]))
	r.Requests[i], r.Tokens[i] = add(r.Requests[i], -c), add(r.Tokens[i], -t)
	return r, calls - c, tokens - t
}

// add is a sum that stays within an integer column and not below 0.
func add(n int32, v float64) int32 {
	return int32(min(max(math.Round(float64(n)+v), 0), math.MaxInt32))
}

// usual is what was booked for a call on average; 0 if nothing was.
func (r Ring) usual() float64 {
	calls, tokens := 0.0, 0.0
	for i := range Slots {
		calls += float64(r.Requests[i])
		tokens += float64(r.Tokens[i])
	}
	if calls == 0 {
		return 0
	}
	return tokens / calls
}
