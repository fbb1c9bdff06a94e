package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/sluicedev/sluice/pkg/llm/llmtest"
)

// model is what every call asks for. Its quota is one domain.
const model = "gpt-5"

// dimension is what a limit counts.
type dimension string

const (
	requests dimension = "requests"
	tokens   dimension = "tokens"
)

// scenario is one day in the life of a provider.
type scenario struct {
	name      string
	bound     dimension     // which limit there is
	limit     int64         // of it, in a window
	window    time.Duration // that it refills in
	script    llmtest.Script
	neighbour bool          // somebody else takes 40 % of the key, in bursts
	down, up  time.Duration // the outage, since the jobs were handed over; 0, 0: none
	span      time.Duration // measured
	slots     int           // calls that a contender may have in flight
}

// scale is how large and long everything is.
type scale struct {
	limit  int64 // requests in a window
	window time.Duration
	span   time.Duration
	call   time.Duration // a call's usual length
	long   time.Duration // a call's length where many are to be in flight
	slots  int

	fleets []int // of Sluice's workers
	peers  int   // processes of each of the others
	atOnce bool  // all scenarios at the same time

	before, outage, after time.Duration
}

var (
	full = scale{
		limit: 500, window: 10 * time.Second, span: 20 * time.Second, call: 900 * time.Millisecond, long: 6 * time.Second,
		slots: 512, fleets: []int{1, 4, 16}, peers: 16,
		before: 10 * time.Second, outage: 20 * time.Second, after: 22 * time.Second,
	}
	quick = scale{
		limit: 50, window: time.Second, span: time.Second, call: 90 * time.Millisecond, long: 200 * time.Millisecond,
		slots: 64, fleets: []int{1, 2}, peers: 2, atOnce: true,
		before: time.Second, outage: time.Second, after: time.Second,
	}
)

const (
	tokensPerCall  = 1000 // about, on average
	eventsPerCall  = 15   // pauses between the events of the provider's stream
	neighbourShare = 0.4
)

// scenarios are all, in the order of the table.
func scenarios(s scale) []scenario {
	return []scenario{
		s.scenario("requests", requests),
		s.scenario("requests, neighbour", requests, withNeighbour),
		s.scenario("tokens", tokens),
		s.scenario("tokens, neighbour", tokens, withNeighbour),
		s.scenario("headers late", requests, s.lasting(s.call, false)),
		s.scenario("headers off", requests, func(sc *scenario) { sc.script.Headers = "off" }),
		s.scenario("outage", requests, s.lasting(s.long, true), func(sc *scenario) {
			sc.down, sc.up, sc.span = s.before, s.before+s.outage, s.before+s.outage+s.after
		}),
	}
}

func (s scale) scenario(name string, bound dimension, changes ...func(*scenario)) scenario {
	sc := scenario{name: name, bound: bound, limit: s.limit, window: s.window, span: s.span, slots: s.slots}
	sc.script.WindowMS = s.window.Milliseconds()
	if bound == tokens {
		sc.limit *= tokensPerCall
		sc.script.TPM = sc.limit
	} else {
		sc.script.RPM = sc.limit
	}
	s.lasting(s.call, true)(&sc)
	for _, change := range changes {
		change(&sc)
	}
	return sc
}

func withNeighbour(sc *scenario) { sc.neighbour = true }

// lasting makes calls take d on average: as a stream, whose headers come in its first third, or all at once at the end.
// Calls that begin together must not end together, so that the time before the first byte differs.
func (s scale) lasting(d time.Duration, streamed bool) func(*scenario) {
	return func(sc *scenario) {
		ms := d.Milliseconds()
		if streamed {
			sc.script.LatencyMS, sc.script.JitterMS, sc.script.EventDelayMS = ms/10, ms*2/10, ms*8/10/eventsPerCall
		} else {
			sc.script.LatencyMS, sc.script.JitterMS, sc.script.EventDelayMS = ms*7/10, ms*6/10, 0
		}
	}
}

// refill is how much of the limit comes back in d.
func (sc scenario) refill(d time.Duration) float64 {
	return float64(sc.limit) * d.Seconds() / sc.window.Seconds()
}

// pace is how many calls a second the limit's refill allows.
func (sc scenario) pace() float64 {
	pace := sc.refill(time.Second)
	if sc.bound == tokens {
		pace /= tokensPerCall
	}
	return pace
}

// job is one call to make.
type job struct {
	input  string
	tokens int64 // charged for it at admission
}

// jobs are more than can be done in the scenario, the same for the same seed. Their tokens are spread as prompts are:
// most small, a few large.
func (sc scenario) jobs(seed uint64) []job {
	random := rand.New(rand.NewPCG(seed, seed))
	list := make([]job, sc.slots+int(1.5*sc.pace()*(sc.window+sc.span).Seconds()))
	for i := range list {
		spread := math.Exp(0.8 * random.NormFloat64()) // its mean is 1.38
		list[i] = job{input: fmt.Sprintf("job %d", i), tokens: int64(min(max(tokensPerCall/1.38*spread, 50), 8*tokensPerCall))}
	}
	return list
}
