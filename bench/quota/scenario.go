package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/sluicedev/sluice/pkg/llm/llmtest"
)

// model is what every call asks for. Its quota is one domain; that of the parked upstream is another.
const (
	model       = "gpt-5"
	parkedModel = "gpt-5-mini"
)

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
	neighbour func(scenario, uint64) []time.Duration // when somebody else uses the key, by a seed; nil: nobody does
	parked    *parked                                // nil: there is one upstream
	down, up  time.Duration                          // the outage, since the jobs were handed over; 0, 0: none
	span      time.Duration                          // measured
	slots     int                                    // calls that a contender may have in flight
}

// parked is a second upstream that takes no calls, whose jobs are the first of the queue.
type parked struct {
	script llmtest.Script
	jobs   int
	fleet  int // of Sluice's workers: to enqueue so many jobs takes longer than the scenario, so that only one fleet has them
}

// scale is how large and long everything is.
type scale struct {
	limit  int64 // requests in a window
	window time.Duration
	span   time.Duration
	call   time.Duration // a call's usual length
	slots  int

	fleets    []int  // of Sluice's workers
	peers     int    // processes of each of the others
	contender string // which of them run unless told otherwise, as a regexp
	parked    parked // without its script
	bursts    bool   // the neighbour that bursts, too
	outages   outages

	atOnce   func(scenario) bool // which scenarios run at the same time; the others run one by one
	crowding string              // that in words, after "at the same time"

	page, title, command string // of results: its name in docs, its heading, what writes it
}

// outages are the scenarios with an outage. They have a window of their own, for their pace and the length of a call decide
// how many calls are in flight as it begins.
type outages struct {
	window time.Duration
	call   time.Duration
	slots  int
	before time.Duration
	each   []outage
}

// outage is how long the provider is down, and how long it is watched afterwards: until a breaker that has found it down
// once more has closed, and the pace has had time to be back.
type outage struct {
	name          string
	length, after time.Duration
}

var (
	full = scale{
		limit: 500, window: 10 * time.Second, span: 20 * time.Second, call: 900 * time.Millisecond,
		slots: 192, fleets: []int{1, 4, 16}, peers: 16, parked: parked{jobs: 100_000, fleet: 4},
		outages: outages{
			window: 10 * time.Second, call: 6 * time.Second, slots: 512, before: 10 * time.Second,
			each: []outage{{"outage", 20 * time.Second, 22 * time.Second}},
		},
		atOnce: func(sc scenario) bool { return sc.parked != nil }, crowding: ", and both with a parked upstream",
		page: "benchmarks-quota", title: "Quota: how much is used, and who is hurt", command: "go run ./quota -write",
	}
	realTime = scale{
		limit: 500, window: time.Minute, span: 10 * time.Minute, call: 6 * time.Second,
		slots: 256, fleets: full.fleets, peers: full.peers, contender: "^sluice x4$", parked: full.parked, bursts: true,
		outages: outages{
			window: full.outages.window, call: full.outages.call, slots: full.outages.slots, before: full.outages.before,
			each: append(slices.Clone(full.outages.each), outage{"long outage", 50 * time.Second, 40 * time.Second}),
		},
		atOnce: func(sc scenario) bool { return sc.up == 0 }, crowding: ", and all scenarios without an outage",
		page: "benchmarks-quota-real", title: "Quota in real time", command: "go run ./quota -real -write",
	}
	quick = scale{
		limit: 50, window: time.Second, span: time.Second, call: 90 * time.Millisecond,
		slots: 64, fleets: []int{2}, peers: 2, parked: parked{jobs: 500, fleet: 2},
		outages: outages{
			window: time.Second, call: 200 * time.Millisecond, slots: 64, before: time.Second,
			each: []outage{{"outage", time.Second, time.Second}, {"long outage", 2 * time.Second, time.Second}},
		},
		atOnce: func(scenario) bool { return true }, crowding: ", and all scenarios: figures without meaning",
		page: full.page, title: full.title, command: "go run ./quota -quick -write",
	}
)

const (
	tokensPerCall = 1000 // about, on average
	eventsPerCall = 15   // pauses between the events of the provider's stream
)

// The parked upstream is down, or has a limit that its first call spends.
var (
	scriptOpen  = llmtest.Script{Mode: "503"}
	scriptSpent = llmtest.Script{RPM: 1, WindowMS: time.Hour.Milliseconds()}
)

// scenarios are all, in the order of the table.
func scenarios(s scale) []scenario {
	list := []scenario{
		s.scenario("requests", requests),
		s.scenario("beside an open upstream", requests, s.beside(scriptOpen)),
		s.scenario("beside a spent upstream", requests, s.beside(scriptSpent)),
		s.scenario("requests, neighbour", requests, with(working)),
		s.scenario("tokens", tokens),
		s.scenario("tokens, neighbour", tokens, with(working)),
		s.scenario("headers late", requests, lasting(s.call, false)),
		s.scenario("headers off", requests, func(sc *scenario) { sc.script.Headers = "off" }),
	}
	if s.bursts {
		list = append(list, s.scenario("requests, burst neighbour", requests, with(bursting)),
			s.scenario("tokens, burst neighbour", tokens, with(bursting)))
	}
	for _, o := range s.outages.each {
		list = append(list, s.outage(o))
	}
	return list
}

// rounds are the scenarios that run at the same time, round after round.
func (s scale) rounds(list []scenario) (rounds [][]scenario) {
	var crowd []scenario
	for _, sc := range list {
		if s.atOnce(sc) {
			crowd = append(crowd, sc)
		} else {
			rounds = append(rounds, []scenario{sc})
		}
	}
	if len(crowd) > 0 {
		rounds = append([][]scenario{crowd}, rounds...)
	}
	return rounds
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
	lasting(s.call, true)(&sc)
	for _, change := range changes {
		change(&sc)
	}
	return sc
}

func with(neighbour func(scenario, uint64) []time.Duration) func(*scenario) {
	return func(sc *scenario) { sc.neighbour = neighbour }
}

func (s scale) beside(script llmtest.Script) func(*scenario) {
	s.parked.script = script
	return func(sc *scenario) { sc.parked = &s.parked }
}

// suits leaves out who has no idea of a second upstream, and Sluice's fleets but one.
func (sc scenario) suits(c contender) bool {
	s, isSluice := c.(sluice)
	return sc.parked == nil || isSluice && int(s.processes) == sc.parked.fleet
}

// outage is like the other scenarios, but for what outages have of their own.
func (s scale) outage(o outage) scenario {
	s.window, s.call, s.slots = s.outages.window, s.outages.call, s.outages.slots
	return s.scenario(o.name, requests, func(sc *scenario) {
		sc.down = s.outages.before
		sc.up = sc.down + o.length
		sc.span = sc.up + o.after
	})
}

// lasting makes calls take d on average: as a stream, whose headers come in its first third, or all at once at the end.
// Calls that begin together must not end together, so that the time before the first byte differs.
func lasting(d time.Duration, streamed bool) func(*scenario) {
	return func(sc *scenario) {
		ms := d.Milliseconds()
		if streamed {
			sc.script.LatencyMS, sc.script.JitterMS, sc.script.EventDelayMS = ms/10, ms*2/10, ms*8/10/eventsPerCall
		} else {
			sc.script.LatencyMS, sc.script.JitterMS, sc.script.EventDelayMS = ms*7/10, ms*6/10, 0
		}
	}
}

// settling is how long the beginning is left out of what is called steady.
func (sc scenario) settling() time.Duration { return min(sc.window, sc.span/5) }

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
