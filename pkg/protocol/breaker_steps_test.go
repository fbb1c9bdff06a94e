package protocol

import (
	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/breaker"
)

// The steps of the breaker protocol. A change of the row is atomic, as it is swapped in only where nobody else was faster.

// change swaps in what a step of the breaker makes of the row, and looks at it.
func (s *circuit) change(step func(b breaker.Breaker) breaker.Breaker) (broke string) {
	before := s.row
	next := step(before.breaker())
	s.row = rowOf(next)
	changes := next.Generation - present
	switch {
	case changes < 0:
		return "the generation went back"
	case changes == 0 && (s.row.state != before.state || s.row.reason != before.reason):
		return "a change that raised no generation"
	}
	if s.row != before {
		s.late, s.lateBy = 0, 0 // what was computed from the row as it was is not swapped in any more
	}
	for w := range s.workers {
		p := &s.workers[w]
		p.view.generation = uint8(min(int64(p.view.generation)+changes, outdated))
		p.call.generation = uint8(min(int64(p.call.generation)+changes, outdated))
	}
	return ""
}

func (r row) view() view {
	b := r.breaker()
	return view{state: r.state, cold: b.Cold(), admits: b.Admits("", now)}
}

func (m circuits) steps(s circuit, do func(step[circuit])) {
	if s.mayTick() {
		do(step[circuit]{action: by(-1, "a tick", -1, 0), to: m.tick(s), fair: true})
	}
	if s.late != 0 {
		m.arrives(s, do)
	}
	if m.may(s, pauses) {
		m.operator(s, do)
	}
	for w := range s.workers {
		m.others(s, w, do)
		if w == 0 { // the other one stays well, or nobody would be left to probe
			m.mishap(s, w, do)
		}
		if s.workers[w].acts() {
			m.worker(s, w, do)
		}
	}
}

// mayTick: the statements of a worker that is well do not take longer than they may, nor does its call outlast the permit.
func (s circuit) mayTick() bool {
	for _, p := range s.workers {
		waits := (p.call.phase == granted || p.call.phase == held) && p.call.checked >= slowest
		if p.acts() && (waits || s.row.inForce(p.call.probe) && s.row.lasts == 1) {
			return false
		}
	}
	return true
}

// tick is a second, in which whoever can reads the row and beats.
func (m circuits) tick(s circuit) circuit {
	s.row.opened = min(s.row.opened+uint8(count(s.row.state != isClosed)), longAgo)
	s.row.retry -= int8(count(s.row.retry > 0))
	if s.row.closed != never {
		s.row.closed = min(s.row.closed+1, longAgo)
	}
	if s.row.lasts > 0 && !m.is(eternal) {
		s.row.lasts--
	}
	for w := range s.workers {
		p := &s.workers[w]
		switch {
		case p.acts():
			p.age, p.view = 0, s.row.view()
		case p.up || p.listed:
			p.age = min(p.age+1, deadAfter)
			p.view.read = min(p.view.read+1, longAgo)
		}
		if p.call.phase == granted || p.call.phase == held {
			p.call.checked = min(p.call.checked+1, longAgo)
		}
	}
	return s
}

// arrives is a grant that its worker has given up.
func (m circuits) arrives(s circuit, do func(step[circuit])) {
	probe, worker := s.late, string('@'+rune(s.lateBy))
	s.late, s.lateBy = 0, 0
	broke := s.change(func(b breaker.Breaker) breaker.Breaker {
		b, _ = b.Grant(breaker.Probe{ID: id(probe), Worker: worker, Until: at(permitLasts)}, "", now)
		return b
	})
	do(step[circuit]{action: by(-1, "a grant arrives late:", -1, probe), to: s, fair: true, broke: broke})
}

func (m circuits) operator(s circuit, do func(step[circuit])) {
	s.left--
	hand := func(what string, turn func(breaker.Breaker) breaker.Breaker) {
		next := s
		broke := next.change(turn)
		do(step[circuit]{action: by(-1, what, -1, 0), to: next, broke: broke})
	}
	hand("an operator pauses", func(b breaker.Breaker) breaker.Breaker { return b.Pause(now) })
	hand("an operator resumes", func(b breaker.Breaker) breaker.Breaker { return b.Resume(now) })
}

// others are what the fleet does about a worker.
func (m circuits) others(s circuit, w int, do func(step[circuit])) {
	p := s.workers[w]
	if p.listed && p.age >= deadAfter {
		next := s
		next.workers[w].listed = false
		do(step[circuit]{action: action{what: "burial of worker", nth: int8(w + 1)}, to: next, fair: true})
	}
	mine := s.row.probe != 0 && (s.row.prober == uint8(w+1) && !p.listed || s.row.prober == somebody && w == 0)
	if mine && !m.is(eternal) {
		next := s
		broke := next.change(func(b breaker.Breaker) breaker.Breaker { return b.Free(b.Probe.ID, now) })
		do(step[circuit]{action: by(-1, "the permit of the dead is freed", -1, s.row.probe), to: next, fair: true, broke: broke})
	}
}

func (m circuits) mishap(s circuit, w int, do func(step[circuit])) {
	p := s.workers[w]
	becomes := func(what string, cost uint8, fair bool, changed prober) {
		next := s
		next.left -= cost
		next.workers[w] = changed
		do(step[circuit]{action: by(w, what, -1, 0), to: next, fair: fair})
	}
	if !p.up {
		return
	}
	if m.may(s, dies) {
		becomes("dies", 1, false, prober{listed: p.listed, age: p.age})
	}
	changed := p
	changed.frozen = !p.frozen
	switch {
	case p.frozen:
		becomes("thaws", 0, true, changed)
	case m.may(s, freezes):
		becomes("freezes", 1, false, changed)
	}
	if !p.listed && !p.frozen {
		next := s
		if next.row.prober == uint8(w+1) {
			next.row.prober = somebody
		}
		if next.late != 0 {
			next.lateBy = somebody
		}
		next.workers[w] = prober{up: true, listed: true, view: s.row.view()}
		do(step[circuit]{action: by(w, "finds itself buried and starts afresh", -1, 0), to: next, fair: true})
	}
}

// worker is what a worker does: claim.go, probe.go, attempt.go.
func (m circuits) worker(s circuit, w int, do func(step[circuit])) {
	p := s.workers[w]
	if p.untold != 0 {
		m.tell(s, w, do)
	}
	switch p.call.phase {
	case idle:
		if p.view.admits && p.fresh() {
			m.ask(s, w, do)
		}
		if p.view.state == isClosed && !p.view.cold && p.fresh() {
			m.take(s, w, 0, do)
		}
	case granted:
		m.take(s, w, p.call.probe, do)
	case held:
		m.begins(s, w, do)
	case started:
		m.meets(s, w, do)
	}
}

// ask is Grant: the permit has an id that nobody knows yet.
func (m circuits) ask(s circuit, w int, do func(step[circuit])) {
	probe := s.unknown()
	next := s
	got := false
	broke := next.change(func(b breaker.Breaker) breaker.Breaker {
		if m.is(grantsTwice) {
			b.Probe = breaker.Probe{}
		}
		b, got = b.Grant(breaker.Probe{ID: id(probe), Worker: string(rune('A' + w)), Until: at(permitLasts)}, "", now)
		return b
	})
	if got && s.row.inForce(s.row.probe) {
		broke = "two permits are in force"
	}
	if !got {
		next = s
		next.workers[w].view = s.row.view()
		do(step[circuit]{action: by(w, "asks for a permit in vain", -1, 0), to: next, fair: true})
		return
	}
	if m.may(s, losesReply) && w == 0 && s.workers[w].untold == 0 {
		unknown := next
		unknown.left--
		unknown.workers[w].untold, unknown.workers[w].how = probe, freed
		do(step[circuit]{action: by(w, "asks for a permit, the reply is lost", -1, probe), to: unknown, broke: broke})
	}
	if m.may(s, grantsLate) && w == 0 && s.workers[w].untold == 0 {
		under := s
		under.left--
		under.late, under.lateBy = probe, uint8(w+1)
		under.workers[w].untold, under.workers[w].how = probe, freed
		do(step[circuit]{action: by(w, "asks for a permit, and gives up before it is granted", -1, probe), to: under})
	}
	next.workers[w].view = next.row.view()
	next.workers[w].call = call{phase: granted, probe: probe}
	do(step[circuit]{action: by(w, "gets a permit", -1, probe), to: next, fair: true, broke: broke})
}

// unknown is an id that nobody knows.
func (s *circuit) unknown() uint8 {
	for n := uint8(1); ; n++ {
		known := s.row.probe == n || s.late == n
		for _, p := range s.workers {
			known = known || p.untold == n || p.call.probe == n
		}
		if !known {
			return n
		}
	}
}

// take is a claim, which looks at the row by itself. A probe without a job is given back.
func (m circuits) take(s circuit, w int, probe uint8, do func(step[circuit])) {
	p := &s.workers[w]
	open := s.row.state == isClosed && p.view.generation == 0
	job := uint8(1)
	if other := s.workers[1-w].call; other.phase > granted && other.job == job {
		job = 2
	}
	switch {
	case probe == 0 && !open:
	case probe != 0 && !s.row.inForce(probe):
		m.free(s, w, do)
	default:
		p.call.phase, p.call.job = held, job // a permit's time goes on from its grant
		do(step[circuit]{action: by(w, "claims", int(job-1), 0), to: s, fair: true})
	}
}

// begins is mayStart.
func (m circuits) begins(s circuit, w int, do func(step[circuit])) {
	p := &s.workers[w]
	c := p.call
	if p.view.read > 0 && c.checked > 0 && !m.is(staleNews) {
		p.view = s.row.view()
		do(step[circuit]{action: by(w, "reads the row first", -1, 0), to: s, fair: true})
		return
	}
	admitted := p.view.state == isClosed && !p.view.cold && p.view.generation == c.generation && c.generation < outdated
	if c.probe != 0 {
		admitted = m.is(blindProbe) || p.view.generation >= c.generation && c.generation < outdated
	}
	if !p.fresh() || !admitted {
		m.free(s, w, do)
		return
	}
	p.call.phase = started
	start := step[circuit]{action: by(w, "starts", int(c.job-1), 0), to: s, fair: true}
	stopped := s.row.state != isClosed && s.row.opened > 0
	switch {
	case stopped && !s.row.inForce(c.probe):
		start.broke = "a call starts while the breaker is not closed, and is not the probe"
	case s.row.cold() && !s.row.inForce(c.probe):
		start.broke = "a call starts while the upstream is cold, and is not the first"
	}
	do(start)
}

// cold tells whether nobody has been heard from, and nobody has just resumed.
func (r row) cold() bool {
	return r.state == isClosed && !r.heard && (r.closed != 0)
}

// free ends a call that was not made.
func (m circuits) free(s circuit, w int, do func(step[circuit])) {
	m.ends(s, w, met{"ends unanswered", freed, true}, do)
}

// met is what becomes of a call.
type met struct {
	what string
	how  ending
	fair bool
}

func (m circuits) meets(s circuit, w int, do func(step[circuit])) {
	m.ends(s, w, met{"an answer to", alive, true}, do)
	m.ends(s, w, met{"a failure of", broken, false}, do)
	if m.mishaps&account != 0 {
		m.ends(s, w, met{"out of credit", refused, false}, do)
	}
}

// ends tells Postgres what a call met. A probe that is answered goes on as an ordinary call.
func (m circuits) ends(s circuit, w int, e met, do func(step[circuit])) {
	c := s.workers[w].call
	next := s
	broke := next.change(func(b breaker.Breaker) breaker.Breaker {
		if c.probe != 0 {
			return probed(b, c.probe, c.job, e.how)
		}
		return counted(b, c.job, m.generation(c), e.how)
	})
	switch changed := next.row != s.row; {
	case changed && c.probe != 0 && c.probe != s.row.probe:
		broke = "an answer to a permit that is over counts"
	case changed && c.probe == 0 && c.generation > 0:
		broke = "an answer from before a change counts"
	}
	action := by(w, e.what, int(c.job)-1, c.probe)
	after := call{}
	if e.how == alive && c.probe != 0 {
		after = call{phase: started, job: c.job}
	}
	if c.probe != 0 && m.may(s, losesReply) && w == 0 && s.workers[w].untold == 0 {
		for _, unknown := range []circuit{s, next} { // the statement was lost, or its reply
			unknown.left--
			p := &unknown.workers[w]
			after.generation = p.call.generation
			p.untold, p.how, p.about, p.call = c.probe, e.how, c.job, after
			action.what = e.what + " (untold)"
			do(step[circuit]{action: action, to: unknown})
		}
	}
	action.what = e.what
	after.generation = 0
	next.workers[w].call, next.workers[w].view = after, next.row.view()
	do(step[circuit]{action: action, to: next, fair: e.fair, broke: broke})
}

// generation is what an answer is counted in.
func (m circuits) generation(c call) int64 {
	if m.is(countsAll) {
		return present
	}
	return present - int64(c.generation)
}

// probed is the end of a probe.
func probed(b breaker.Breaker, probe, job uint8, how ending) breaker.Breaker {
	a := breaker.Answer{Probe: id(probe), Job: id(job)}
	switch how {
	case freed:
		return b.Free(id(probe), now)
	case alive:
		a.Alive, a.OK = true, true
	case refused:
		a.Reason = breaker.Account
	}
	return b.Answered(a, rules, now, 0)
}

// counted is the report of an ordinary call.
func counted(b breaker.Breaker, job uint8, generation int64, how ending) breaker.Breaker {
	switch how {
	case alive:
		return b.Report(breaker.Report{Generation: generation, OK: 1}, rules, now, 0)
	case broken:
		return b.Report(breaker.Report{Generation: generation, Failed: 1, Trailing: 1, Jobs: []uuid.UUID{id(job)}}, rules, now, 0)
	case refused:
		return b.Refuse(breaker.Refused{Generation: generation, Reason: breaker.Account, Job: id(job)}, rules, now, 0)
	}
	return b
}

// tell is what a tick tells of probes whose end could not be told. A grant that may still come is given back until then.
func (m circuits) tell(s circuit, w int, do func(step[circuit])) {
	p := s.workers[w]
	probe := p.untold
	broke := s.change(func(b breaker.Breaker) breaker.Breaker { return probed(b, probe, p.about, p.how) })
	if s.late != probe || m.is(tellsOnce) {
		s.workers[w].untold, s.workers[w].how, s.workers[w].about = 0, freed, 0
	}
	s.workers[w].view = s.row.view()
	do(step[circuit]{action: by(w, "tells of its permit", -1, probe), to: s, fair: true, broke: broke})
}
