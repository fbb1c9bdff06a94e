package protocol

import "testing"

// The lease protocol: who may run a job and end it. Each step is one statement of pkg/queue, or one critical section of a
// worker. What a worker believes of an attempt stands beside the attempt's row, as each lease is given to one worker only.

const (
	workers     = 2
	live        = 4 // attempts of a job that anybody still knows of; an instance that needs more says so
	maxAttempts = 2
	slots       = 2 // calls of a worker
	window      = 2 // ticks without a beat after which a worker is dead
)

type jobState uint8

const (
	unborn jobState = iota
	queued
	delayed
	running
	done
	failed
	cancelled
)

func (s jobState) ended() bool { return s >= done }

// outcome of an attempt, or what its worker is going to write.
type outcome uint8

const (
	unknown outcome = iota
	ok
	failure     // charged
	limited     // delayed, not charged
	interrupted // queued, not charged
	aborted     // the job was cancelled
	lost        // charged, by rescue
)

func (o outcome) charged() bool { return o == ok || o == failure || o == lost }

// belief is what a worker makes of an attempt.
type belief uint8

const (
	gone    belief = iota // it knows nothing of it, or nothing any more
	unclear               // it asked for the job, and the reply was lost
	claimed               // it holds it, and the call has not started
	calling
	hung  // the call goes on beyond the job's deadline
	ended // the call; what it met is to be written
)

// attempt is a row of attempts, for as long as somebody knows of it: its worker, a claim, or a reader of open rows.
type attempt struct {
	lease uint8 // its number; 0: there is none
	by    uint8 // worker, from 1
	past  bool  // that worker goes by another name now, or is gone
	open  bool  // it has no outcome
	claim bool  // it is in a row of claims
	told  bool  // a row of cancels waits for the worker

	belief  belief
	verdict outcome // of a call that has ended
	stop    bool    // the worker knows of the cancel
}

type job struct {
	state    jobState
	worker   uint8 // 0: nobody
	lease    uint8
	attempts uint8
	ready    bool  // it has a row in ready
	oks      uint8 // attempts with that outcome
	tries    [live]attempt
}

type member struct {
	up      bool
	listed  bool // it has a row in workers, under its present name
	leaving bool
	buried  bool  // and it knows
	frozen  bool  // it does nothing at all
	cut     bool  // it does not reach Postgres
	hurt    bool  // it was frozen or cut since its last beat
	age     uint8 // ticks since the last beat that it knows to have arrived
	still   uint8 // ticks in which the rescuer saw its counter unmoved
}

func (m member) acts() bool    { return m.up && !m.frozen }
func (m member) reaches() bool { return m.acts() && !m.cut }
func (m member) fresh() bool   { return m.age < window }

// fleet is the state of everybody.
type fleet struct {
	jobs    [2]job
	members [workers]member
	down    bool  // Postgres
	left    uint8 // how much more may go wrong, or be wished
}

// listed tells whether the worker of an attempt is, under the name that it had then.
func (s *fleet) listed(a attempt) bool { return !a.past && s.members[a.by-1].listed }

// event is what may go wrong in an instance, or be wished.
type event uint16

const (
	crash event = 1 << iota
	freeze
	cut
	loss // of a reply
	outage
	cancel
	retry
	stop
	limit
	hang
	fail

	everything = 1<<iota - 1
)

// breach is in what a variant of the protocol is broken.
type breach uint16

const (
	noFence       breach = 1 << iota // an end goes by the job's id and state alone
	noWorkerCheck                    // by the lease alone
	noLeaseCheck                     // by the worker alone
	wallClock                        // rescue goes by the time since the last beat, whatever happened meanwhile
	shiftless                        // a cancel leaves the lease where it was
	unfresh                          // a call starts however long ago the last beat was acknowledged
	noGiveBack                       // a claim whose reply was lost is forgotten
	hangs                            // claims have no deadline
)

// leases is the protocol, in a small instance.
type leases struct {
	jobs   int
	events event
	left   uint8 // how many of the events, together
	broken breach
}

func (m leases) is(b breach) bool { return m.broken&b != 0 }

func (m leases) may(s fleet, e event) bool { return s.left > 0 && m.events&e != 0 }

func (m leases) start() fleet {
	s := fleet{left: m.left}
	for j := range m.jobs {
		s.jobs[j] = job{state: queued, ready: true}
	}
	for w := range s.members {
		s.members[w] = member{up: true, listed: true}
	}
	return s
}

func (m leases) explorer() *explorer[fleet] {
	return &explorer[fleet]{steps: m.steps, wrong: inconsistent, settled: fleet.settled}
}

// steps gives all that can happen next, and looks at each.
func (m leases) steps(s fleet, do func(step[fleet])) {
	look := func(next step[fleet]) {
		if next.broke == "" {
			next.broke = forbidden(s, next.to, next.action)
		}
		do(next)
	}
	m.world(s, look)
	m.rescuer(s, look)
	for w := range s.members {
		m.member(s, w, look)
	}
}

// settled: every job has ended, and so have its attempts and claims. A call that hangs may do so for ever.
func (s fleet) settled() bool {
	for _, j := range s.jobs {
		if j.state != unborn && !j.state.ended() {
			return false
		}
		for _, a := range j.tries {
			if a.open || a.claim {
				return false
			}
		}
	}
	return true
}

// inconsistent says what is wrong with the rows.
func inconsistent(s fleet) string {
	for _, j := range s.jobs {
		if wrong := j.inconsistent(); wrong != "" {
			return wrong
		}
	}
	return ""
}

func (j job) inconsistent() string {
	held := false
	for _, a := range j.tries {
		holds := j.state == running && j.lease == a.lease && j.worker == a.by
		if a.open && !holds && j.lease <= a.lease {
			return "an attempt is open at the lease of a job that it does not hold"
		}
		held = held || holds && a.open && a.claim
	}
	switch {
	case (j.state == running) != held:
		return "a job runs without an open attempt in a claim, or the other way round"
	case (j.state == queued) != j.ready:
		return "a job is queued and has no row in ready, or the other way round"
	case (j.state == running) != (j.worker != 0):
		return "a job runs without a worker, or the other way round"
	case j.oks > 1:
		return "two attempts of a job are ok"
	case (j.oks == 1) != (j.state == done):
		return "an attempt is ok and its job is not done, or the other way round"
	}
	return ""
}

// forbidden says what a step must not have done.
func forbidden(from, to fleet, a action) string {
	for i, j := range from.jobs {
		next := to.jobs[i]
		moves := int(a.job) == i+1 && (a.what == claims || a.what == claimsBlindly || a.what == cancels)
		switch {
		case j.state == done && next.state != done:
			return "a done job changed"
		case j.state.ended() && next.state != j.state && a.what != byHand:
			return "a job ended twice"
		case next.lease < j.lease || next.lease > j.lease+1 || next.lease != j.lease && !moves:
			return "a lease moved by something else than a claim or a cancel"
		case next.attempts > j.attempts && next.openTries() >= j.openTries():
			return "an attempt was charged twice"
		}
	}
	return ""
}

func (j job) openTries() (n int) {
	for _, a := range j.tries {
		n += count(a.open)
	}
	return n
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}

// TestLeases explores all stories of an instance in which at most so many things go wrong or are wished.
func TestLeases(t *testing.T) {
	t.Parallel()
	for _, i := range []struct {
		name string
		leases
	}{
		{"one job, anything", leases{jobs: 1, events: everything, left: 2}},
		{"two jobs, anything", leases{jobs: 2, events: everything &^ fail, left: 1}},
		{"by hand", leases{jobs: 1, events: cancel | retry | loss, left: 4}},
		{"by hand, of a job that fails", leases{jobs: 1, events: cancel | retry | fail, left: 3}},
		{"who lives", leases{jobs: 1, events: freeze | cut | outage | crash, left: 3}},
	} {
		t.Run(i.name, func(t *testing.T) {
			t.Parallel()
			holds(t, i.explorer(), i.start())
		})
	}
}

func TestBrokenLeases(t *testing.T) {
	t.Parallel()
	for _, b := range []struct {
		name string
		leases
		wrong string
	}{
		{"completion without the lease check", leases{jobs: 1, events: freeze, left: 1, broken: noFence}, "an end without the lease"},
		{"without the worker check", leases{jobs: 1, events: freeze, left: 1, broken: noWorkerCheck}, "an end without the lease"},
		{"without the number of the lease", leases{jobs: 1, events: cancel | retry, left: 2, broken: noLeaseCheck}, "an end without the lease"},
		{"rescue by wall-clock", leases{jobs: 1, events: outage, left: 1, broken: wallClock}, "a worker that beats whenever it can was buried"},
		{"a cancel that leaves the lease", leases{jobs: 1, events: cancel, left: 1, broken: shiftless}, "open at the lease of a job"},
		{"a start without a fresh beat", leases{jobs: 1, events: cut, left: 1, broken: unfresh}, "a call starts on a lease that was taken away"},
		{"a claim whose reply was lost is forgotten", leases{jobs: 1, events: loss, left: 1, broken: noGiveBack}, "stuck"},
		{"a call that hangs for ever", leases{jobs: 1, events: hang, left: 1, broken: hangs}, "stuck"},
	} {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			bites(t, b.explorer(), b.start(), b.wrong)
		})
	}
}
