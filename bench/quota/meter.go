package main

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/sluicedev/sluice/pkg/llm/llmtest"
)

// figures are what a record comes to. The package comment defines them.
type figures struct {
	calls, admitted int // own

	used, left, lost share // of the usable quota
	steady           share // used of what was usable once it had settled
	own429, other429 share // of own calls, of the neighbour's

	inFlight  int           // as the outage began
	opened    time.Duration // after the first call that the outage refused
	wasOpened bool          // false: there is no breaker, or each process has its own
	inOutage  int
	closed    time.Duration // after the outage
	wasClosed bool          // false: not within closed
	back      time.Duration // after closed
	wasBack   bool          // false: not within back
}

// share is a part of a whole; none where there is no whole.
type share struct{ part, whole float64 }

func (s share) none() bool       { return s.whole == 0 }
func (s share) percent() float64 { return 100 * s.part / s.whole }

// grace is how long after its first failure a contender may still call into an outage.
const grace = time.Second

func measure(r record) figures {
	var own, others []llmtest.Call
	for _, c := range r.calls {
		if isNeighbour(c.ID) {
			others = append(others, c)
		} else {
			own = append(own, c)
		}
	}
	f := figures{
		calls: len(own), admitted: count(own, admitted),
		own429:   share{float64(count(own, limitedCall)), float64(len(own))},
		other429: share{float64(count(others, limitedCall)), float64(len(others))},
	}
	if r.up == 0 {
		usable := r.usable(own) - taken(others, r.scenario.bound)
		used, left := taken(own, r.scenario.bound), float64(r.left)
		f.used, f.left, f.lost = share{used, usable}, share{left, usable}, share{usable - used - left, usable}
		f.steady = r.steady(own, others)
		return f
	}
	f.inFlight = count(own, func(c llmtest.Call) bool { return c.At < r.down && (c.EndedAt == 0 || c.EndedAt > r.down) })
	f.opened, f.wasOpened, f.inOutage = r.outage(own)
	f.closed, f.wasClosed = r.closed(own)
	f.back, f.wasBack = r.back(own, f.closed)
	return f
}

// admitted calls are charged; a refused one is not, in tokens.
func admitted(c llmtest.Call) bool    { return c.Tokens > 0 }
func limitedCall(c llmtest.Call) bool { return c.Status == http.StatusTooManyRequests }

func count(calls []llmtest.Call, which func(llmtest.Call) bool) (n int) {
	for _, c := range calls {
		if which(c) {
			n++
		}
	}
	return n
}

// taken is what admitted calls took of a limit.
func taken(calls []llmtest.Call, bound dimension) (sum float64) {
	for _, c := range calls {
		switch {
		case bound == tokens:
			sum += float64(c.Tokens)
		case admitted(c):
			sum++
		}
	}
	return sum
}

// usable is the full bucket and its refill, whoever takes it.
func (r record) usable(own []llmtest.Call) float64 {
	from := r.from
	if len(own) > 0 {
		from = min(from, own[0].At)
	}
	return float64(r.scenario.limit) + r.scenario.refill(r.to-from)
}

// steady is what own calls took once it had settled, of what left the bucket since then otherwise than by the neighbour.
// None where nothing did.
func (r record) steady(own, others []llmtest.Call) share {
	if r.settled == 0 {
		return share{}
	}
	own, others = since(r.settled, own), since(r.settled, others)
	gone := r.scenario.refill(r.to-r.settled) + float64(r.stock-r.left)
	return share{taken(own, r.scenario.bound), max(0, gone-taken(others, r.scenario.bound))}
}

// since are the calls that arrived from then on.
func since(from time.Duration, calls []llmtest.Call) []llmtest.Call {
	first := slices.IndexFunc(calls, func(c llmtest.Call) bool { return c.At >= from })
	if first < 0 {
		return nil
	}
	return calls[first:]
}

// outage tells how long after the first call that the outage refused the fleet's breaker opened, if it has one that did, and
// counts the calls that arrived when their sender could have known better.
func (r record) outage(own []llmtest.Call) (opened time.Duration, wasOpened bool, calls int) {
	first := slices.IndexFunc(own, func(c llmtest.Call) bool { return c.At >= r.down && c.Status == http.StatusServiceUnavailable })
	if first < 0 {
		return 0, false, 0
	}
	known := own[first].At
	if r.opened > 0 {
		opened, wasOpened, known = r.opened-known, true, r.opened
	}
	known += grace
	return opened, wasOpened, count(own, func(c llmtest.Call) bool { return c.At >= known && c.At < r.up })
}

// closed is how long after the outage its first call was admitted: what closes a breaker. false: none was.
func (r record) closed(own []llmtest.Call) (time.Duration, bool) {
	for _, c := range own {
		if c.At >= r.up && admitted(c) {
			return c.At - r.up, true
		}
	}
	return r.to - r.up, false
}

// back is how long after closed the pace was back: from then on, admitted calls come at 90 % of what the limit
// refills, both for a tenth of a window, so that it is not a moment before a late burst, and for half a window, so that
// it is not the burst alone. false: at no moment that leaves half a window to look at, of which back is the last.
func (r record) back(own []llmtest.Call, closed time.Duration) (time.Duration, bool) {
	short, long := r.scenario.window/10, r.scenario.window/2
	var at []time.Duration // of admitted calls after the outage
	for _, c := range own {
		if c.At >= r.up && admitted(c) {
			at = append(at, c.At)
		}
	}
	fast := func(i int, look time.Duration) bool {
		end, _ := slices.BinarySearchFunc(at, at[i]+look, cmp.Compare)
		return end-i >= int(0.9*r.scenario.pace()*look.Seconds())
	}
	for i := range at {
		if at[i]+long <= r.to && fast(i, short) && fast(i, long) {
			return at[i] - r.up - closed, true
		}
	}
	return max(0, r.to-r.up-closed-long), false
}
