package protocol

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/breaker"
)

// The breaker protocol: who may call an upstream. The breaker is the real one, of pkg/breaker, under rules of a few ticks.
// The model is of what stands around it: the row that is swapped, the workers' copies of it, the permit of a probe on its
// way there and back, and who dies meanwhile.

const (
	second      = time.Second // a tick
	permitLasts = 3           // ticks: longer than a worker can be between the grant and the call, and not be dead
	slowest     = 1           // ticks: statements between the grant and the call have timed out by then
	deadAfter   = 2           // ticks without a beat
)

var rules = breaker.Rules{
	Run: 2, RunJobs: 2, Calls: 1e6, Share: 0.5, OpenFor: second, MaxOpen: second, HoldFor: second, Confirm: second,
}

// now is always the same: a tick moves the times of the row instead, so that states that differ by the date are one.
var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// row is the breaker, with its times in ticks from now. Generations are counted back from the present one.
type row struct {
	state    breakerState
	reason   breakerReason
	failures uint8
	failing  [2]bool // jobs of the run
	opened   uint8   // ticks ago
	retry    int8    // ticks ahead; never: until somebody resumes
	closed   int8    // ticks ago; never
	heard    bool
	openFor  uint8
	probe    uint8 // the permit's id; 0: none is out
	prober   uint8 // worker, from 1; somebody: one that is not on the list any more
	lasts    uint8 // ticks
}

const (
	never    = -1
	somebody = 9
	longAgo  = 1 // ticks: all that is older is alike
	outdated = 3 // generations
	present  = int64(1000)
)

type (
	breakerState  uint8
	breakerReason uint8
)

var (
	states  = []breaker.State{breaker.Closed, breaker.Open, breaker.HalfOpen}
	reasons = []breaker.Reason{"", breaker.Failures, breaker.Account, breaker.Operator}
)

const (
	isClosed breakerState = iota
	isOpen
	isHalfOpen
)

const byOperator breakerReason = 3

func at(ticks int) time.Time { return now.Add(time.Duration(ticks) * second) }

func id(n uint8) uuid.UUID {
	if n == 0 {
		return uuid.Nil
	}
	return uuid.UUID{15: n}
}

// breaker is what pkg/upstream reads from the row.
func (r row) breaker() breaker.Breaker {
	b := breaker.Breaker{
		State: states[r.state], Reason: reasons[r.reason], Failures: int(r.failures), Generation: present,
		OpenFor: time.Duration(r.openFor) * second, Probe: breaker.Probe{ID: id(r.probe)},
	}
	for j, failing := range r.failing {
		if failing {
			b.FailingJobs = append(b.FailingJobs, id(uint8(j+1)))
		}
	}
	if r.probe != 0 {
		b.Probe.Worker, b.Probe.Until = string(rune('@'+r.prober)), at(int(r.lasts))
	}
	if r.heard {
		b.HeardAt = at(-longAgo)
	}
	if r.state != isClosed {
		b.OpenedAt = at(-int(r.opened))
		if r.retry != never {
			b.RetryAt = at(int(r.retry))
		}
	}
	if r.closed != never {
		b.ClosedAt = at(-int(r.closed))
	}
	return b
}

// rowOf is the row that pkg/upstream swaps in.
func rowOf(b breaker.Breaker) row {
	r := row{failures: uint8(min(b.Failures, rules.Run)), retry: never, closed: never, heard: !b.HeardAt.IsZero(), openFor: uint8(b.OpenFor / second)}
	for i, s := range states {
		if s == b.State {
			r.state = breakerState(i)
		}
	}
	for i, s := range reasons {
		if s == b.Reason {
			r.reason = breakerReason(i)
		}
	}
	for _, j := range b.FailingJobs {
		r.failing[j[15]-1] = true
	}
	if b.Probe.ID != uuid.Nil {
		r.probe, r.prober, r.lasts = b.Probe.ID[15], b.Probe.Worker[0]-'@', uint8(max(0, b.Probe.Until.Sub(now))/second)
	}
	if r.state != isClosed {
		r.opened = ago(b.OpenedAt)
		if !b.RetryAt.IsZero() {
			r.retry = int8(max(0, b.RetryAt.Sub(now)) / second)
		}
	}
	if !b.ClosedAt.IsZero() {
		r.closed = int8(ago(b.ClosedAt))
	}
	return r
}

func ago(t time.Time) uint8 { return uint8(min(now.Sub(t)/second, longAgo)) }

// inForce tells whether a permit is.
func (r row) inForce(probe uint8) bool { return probe != 0 && r.probe == probe && r.lasts > 0 }

// phase is how far a worker's call has come.
type phase uint8

const (
	idle    phase = iota
	granted       // it has a permit, and no job yet
	held          // it has claimed a job, and the call has not started
	started
)

type call struct {
	phase      phase
	job        uint8
	probe      uint8 // the permit's id; 0: an ordinary call
	generation uint8 // how many changes ago
	checked    uint8 // ticks since its grant, or since its claim looked at the row
}

// ending is how a probe ended of which Postgres could not be told.
type ending uint8

const (
	freed ending = iota
	alive
	broken
	refused
)

// view is a worker's copy of the row.
type view struct {
	state      breakerState
	cold       bool
	admits     bool
	generation uint8
	read       uint8 // ticks ago
}

type prober struct {
	up, frozen, listed bool
	age                uint8 // ticks since its last beat
	view               view
	call               call
	untold             uint8 // a permit whose end Postgres was not told of
	how                ending
	about              uint8 // the job of that probe
}

func (p prober) acts() bool  { return p.up && !p.frozen && p.listed }
func (p prober) fresh() bool { return p.age < deadAfter }

// circuit is the state of everybody.
type circuit struct {
	row     row
	workers [workers]prober
	late    uint8 // a permit whose statement was given up by worker A, and is still under way
	lateBy  uint8 // worker A, or somebody: it may have started afresh since
	left    uint8
}

// mishap is what may go wrong in an instance, or be wished.
type mishap uint16

const (
	dies mishap = 1 << iota
	freezes
	losesReply
	grantsLate
	pauses
	account
)

// crack is in what a variant of the protocol is broken.
type crack uint16

const (
	grantsTwice crack = 1 << iota // without looking at the permit that is in force
	eternal                       // a permit lasts until it is given back, and nobody gives it back for the dead
	countsAll                     // answers count whatever generation they are of
	staleNews                     // a call starts however old the copy of the row is, and the look at it by its claim
	blindProbe                    // a probe starts whatever became of its permit
	tellsOnce                     // a permit whose grant was given up is given back once
)

type circuits struct {
	mishaps mishap
	left    uint8
	broken  crack
}

func (m circuits) is(c crack) bool { return m.broken&c != 0 }

func (m circuits) may(s circuit, what mishap) bool { return s.left > 0 && m.mishaps&what != 0 }

func (m circuits) start() circuit {
	s := circuit{row: rowOf(breaker.New()), left: m.left}
	for w := range s.workers {
		s.workers[w] = prober{up: true, listed: true, view: s.row.view()}
	}
	return s
}

func (m circuits) explorer() *explorer[circuit] {
	return &explorer[circuit]{steps: m.steps, wrong: circuit.wrong, settled: circuit.settled}
}

// settled: calls may start, or an operator does not want them to.
func (s circuit) settled() bool {
	return s.row.state == isClosed && s.row.heard || s.row.reason == byOperator
}

func (s circuit) wrong() string {
	if (s.row.state == isHalfOpen) && s.row.probe == 0 {
		return "half-open, and no permit is out"
	}
	if !s.row.inForce(s.row.probe) || s.row.prober == somebody {
		return ""
	}
	p := s.workers[s.row.prober-1]
	if p.acts() && p.call.probe != s.row.probe && p.untold != s.row.probe {
		return "a permit in force is that of a living worker that does not know of it"
	}
	return ""
}

// TestBreaker explores all stories of two workers and one upstream in which at most so many things go wrong.
func TestBreaker(t *testing.T) {
	t.Parallel()
	for _, i := range []struct {
		name string
		circuits
	}{
		{"workers die and freeze", circuits{mishaps: dies | freezes, left: 2}},
		{"replies are lost", circuits{mishaps: losesReply | grantsLate, left: 2}},
		{"operators and accounts", circuits{mishaps: pauses | account, left: 2}},
		{"anything", circuits{mishaps: dies | freezes | losesReply | grantsLate | pauses, left: 1}},
		{"an operator beside the frozen", circuits{mishaps: freezes | pauses, left: 2}},
	} {
		t.Run(i.name, func(t *testing.T) {
			t.Parallel()
			holds(t, i.explorer(), i.start())
		})
	}
}

func TestBrokenBreakers(t *testing.T) {
	t.Parallel()
	for _, b := range []struct {
		name string
		circuits
		wrong string
	}{
		{"two probes", circuits{broken: grantsTwice}, "two permits are in force"},
		{"a prober that dies holds its permit for ever", circuits{mishaps: dies, left: 1, broken: eternal}, "stuck"},
		{"an answer from before a change counts", circuits{broken: countsAll}, "an answer from before a change"},
		{"a start on old news", circuits{mishaps: freezes, left: 1, broken: staleNews}, "a call starts while"},
		{"a probe that does not look again", circuits{mishaps: pauses, left: 1, broken: blindProbe}, "a call starts while"},
		{"a grant that comes late is given back too soon", circuits{mishaps: grantsLate, left: 1, broken: tellsOnce}, "does not know of it"},
	} {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			bites(t, b.explorer(), b.start(), b.wrong)
		})
	}
}
