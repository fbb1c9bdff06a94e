package protocol

import "testing"

// How a worker learns that somebody waits. The claimer sleeps until it is woken, and asks only for lines that it takes
// for hot; a notification says so at once, and the tick, whatever was lost, a second later.

// waiting is the state of one line and one worker with one slot.
type waiting struct {
	ready  uint8 // jobs
	mail   bool  // a notification is under way
	hot    bool
	woken  bool
	busy   bool // the slot
	asking bool // a claim is under way: hot has been taken back, and Postgres has not been asked yet
	empty  bool // it was asked, and the reply is under way
	got    bool
	shut   bool  // the breaker
	knows  bool  // the worker's copy of it is that it is shut
	posts  uint8 // jobs that may still be enqueued
	losses uint8 // notifications that may still be lost
	shuts  uint8
}

// lapse is in what a variant is broken.
type lapse uint8

const (
	noTick   lapse = 1 << iota // nothing but notifications
	coolsOff                   // hot is taken back when the reply comes, instead of before the claim
)

type bells struct{ broken lapse }

func (m bells) is(l lapse) bool { return m.broken&l != 0 }

func (m bells) explorer() *explorer[waiting] {
	return &explorer[waiting]{
		steps:   m.steps,
		wrong:   func(waiting) string { return "" },
		settled: func(s waiting) bool { return s.ready == 0 },
	}
}

func (m bells) steps(s waiting, do func(step[waiting])) {
	world := func(what string, may, fair bool, change func(s *waiting)) {
		if may {
			next := s
			change(&next)
			do(step[waiting]{action: action{what: what}, to: next, fair: fair})
		}
	}
	world("a job is enqueued", s.posts > 0, false, func(s *waiting) { s.posts--; s.ready++; s.mail = true })
	world("a notification arrives", s.mail, true, func(s *waiting) { s.mail, s.hot, s.woken = false, true, true })
	world("a notification is lost", s.mail && s.losses > 0, false, func(s *waiting) { s.mail = false; s.losses-- })
	world("the breaker opens", s.shuts > 0 && !s.shut, false, func(s *waiting) { s.shut = true; s.shuts-- })
	world("the breaker closes", s.shut, true, func(s *waiting) { s.shut = false })
	world("a tick", !m.is(noTick), true, func(s *waiting) { s.hot = s.hot || s.ready > 0; s.knows = s.shut; s.woken = true })
	world("the breaker's change is notified", s.knows != s.shut, true, func(s *waiting) { s.knows = s.shut; s.woken = true })
	world("a call ends", s.busy && !s.asking, true, func(s *waiting) { s.busy, s.woken = false, true })
	m.claimer(s, world)
}

// claimer is claim.go: look whether there is something to ask for, ask, and look at the reply.
func (m bells) claimer(s waiting, world func(what string, may, fair bool, change func(s *waiting))) {
	may := s.hot && !s.busy && !s.knows
	world("the claimer sees nothing to do", s.woken && !s.asking && !may, true, func(s *waiting) { s.woken = false })
	world("the claimer asks", s.woken && !s.asking && may, true, func(s *waiting) {
		s.asking, s.woken, s.hot = true, false, s.hot && m.is(coolsOff)
	})
	world("Postgres answers", s.asking && !s.empty && !s.got, true, func(s *waiting) {
		s.got = s.ready > 0 && !s.shut
		s.empty = !s.got
		if s.got {
			s.ready--
		}
	})
	world("the claimer has its answer", s.empty || s.got, true, func(s *waiting) {
		s.hot = s.got || s.hot && !m.is(coolsOff)
		s.busy, s.woken = s.got, s.woken || s.got
		s.asking, s.empty, s.got = false, false, false
	})
}

func TestWakeUps(t *testing.T) {
	t.Parallel()
	t.Run("notifications are lost", func(t *testing.T) {
		t.Parallel()
		holds(t, bells{}.explorer(), waiting{posts: 3, losses: 3, shuts: 2})
	})
	t.Run("without a tick, and nothing is lost", func(t *testing.T) {
		t.Parallel()
		holds(t, bells{noTick}.explorer(), waiting{posts: 3})
	})
}

func TestBrokenWakeUps(t *testing.T) {
	t.Parallel()
	t.Run("notifications alone", func(t *testing.T) {
		t.Parallel()
		bites(t, bells{noTick}.explorer(), waiting{posts: 2, losses: 1}, "stuck")
	})
	t.Run("a ring during a claim is forgotten", func(t *testing.T) {
		t.Parallel()
		bites(t, bells{noTick | coolsOff}.explorer(), waiting{posts: 2}, "stuck")
	})
	t.Run("a claim that the breaker refused", func(t *testing.T) {
		t.Parallel()
		bites(t, bells{noTick}.explorer(), waiting{posts: 1, shuts: 1}, "stuck")
	})
}
