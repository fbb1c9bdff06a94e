package protocol

// The steps of the lease protocol. A statement is atomic, as its row locks make it; so is what a worker does under its
// mutex. Between any two of them anything else may happen.

// What some steps are called.
const (
	byHand        = "retry by hand of"
	cancels       = "cancel of"
	claims        = "claims"
	claimsBlindly = "claims, the reply is lost,"
)

// by is a step of somebody; w is -1 if it is no worker's.
func by(w int, what string, j int, lease uint8) action {
	return action{what: what, who: int8(w + 1), job: int8(j + 1), nth: int8(lease)}
}

// world is time, Postgres itself, and what people wish.
func (m leases) world(s fleet, do func(step[fleet])) {
	do(step[fleet]{action: by(-1, "a tick", -1, 0), to: m.tick(s), fair: true})
	if s.down {
		s.down = false
		do(step[fleet]{action: by(-1, "Postgres is back", -1, 0), to: s, fair: true})
		return
	}
	if m.may(s, outage) {
		next := s
		next.down = true
		next.left--
		do(step[fleet]{action: by(-1, "Postgres is away", -1, 0), to: next})
	}
	for j := range m.jobs {
		m.wishes(s, j, do)
	}
}

// tick is a second in which whoever can beats, and the rescuer looks. Nobody who is well misses one.
func (m leases) tick(s fleet) fleet {
	for i := range s.members {
		w := &s.members[i]
		if !w.up && !w.listed {
			continue
		}
		w.age, w.still = min(w.age+1, window), min(w.still+1, window)
		switch {
		case s.down && !m.is(wallClock):
			w.still = 0 // the look failed: the watch starts anew
		case !s.down && w.reaches() && w.listed:
			w.age, w.still, w.hurt = 0, 0, false
		}
	}
	return s
}

// wishes are what people do by hand, and what falls due.
func (m leases) wishes(s fleet, j int, do func(step[fleet])) {
	job := s.jobs[j]
	switch {
	case !job.state.ended() && m.may(s, cancel):
		do(step[fleet]{action: by(-1, cancels, j, job.lease), to: m.cancel(s, j)})
	case (job.state == failed || job.state == cancelled) && m.may(s, retry):
		next := s
		next.left--
		n := &next.jobs[j]
		n.state, n.ready, n.attempts = queued, true, 0
		do(step[fleet]{action: by(-1, byHand, j, 0), to: next})
	}
	if job.state == delayed {
		s.jobs[j].state, s.jobs[j].ready = queued, true
		do(step[fleet]{action: by(-1, "promotion of", j, 0), to: s, fair: true})
	}
}

// cancel is cancelSQL: a running job's lease moves on, and its attempt is left to its worker.
func (m leases) cancel(s fleet, j int) fleet {
	s.left--
	job := &s.jobs[j]
	if job.state == running {
		for i := range job.tries {
			a := &job.tries[i]
			a.told = a.told || a.lease == job.lease && a.belief != gone
		}
		job.lease += uint8(count(!m.is(shiftless)))
	}
	job.state, job.worker, job.ready = cancelled, 0, false
	return s
}

// rescuer is somebody who watches the workers and is always well itself: guard.go, watch.go, rescueSQL.
func (m leases) rescuer(s fleet, do func(step[fleet])) {
	if s.down {
		return
	}
	for i, w := range s.members {
		if w.listed && w.still >= window {
			next := s
			next.members[i].listed, next.members[i].still = false, 0
			burial := step[fleet]{action: action{what: "burial of worker", nth: int8(i + 1)}, to: next, fair: true}
			if w.up && !w.hurt {
				burial.broke = "a worker that beats whenever it can was buried"
			}
			do(burial)
		}
	}
	for j, job := range s.jobs {
		for i, a := range job.tries {
			if a.claim && (!s.listed(a) || a.belief == hung && !m.is(hangs)) {
				do(step[fleet]{action: by(-1, "rescue of", j, a.lease), to: s.rescue(j, i), fair: true})
			}
		}
	}
}

// rescue is rescueSQL, for one job of a claim.
func (s fleet) rescue(j, i int) fleet {
	job := &s.jobs[j]
	a := &job.tries[i]
	if job.lease == a.lease && job.worker == a.by {
		job.move(lost)
	}
	a.open, a.claim, a.told = false, false, false
	job.tidy()
	return s
}

// move takes a job to where an outcome sends it.
func (j *job) move(o outcome) {
	last := o.charged() && j.attempts+1 >= maxAttempts
	switch {
	case o == ok:
		j.state = done
		j.oks++
	case last:
		j.state = failed
	case o == failure || o == limited:
		j.state = delayed
	default:
		j.state, j.ready = queued, true
	}
	j.attempts = min(j.attempts+uint8(count(o.charged())), maxAttempts)
	j.worker = 0
	if j.state.ended() {
		j.attempts = 0 // nobody asks any more
	}
}

// tidy drops the attempts that nobody knows of any more.
func (j *job) tidy() {
	var kept [live]attempt
	n := 0
	for _, a := range j.tries {
		if a.lease != 0 && (a.open || a.claim || a.belief != gone) {
			kept[n] = a
			n++
		}
	}
	j.tries = kept
}

// member is what one worker does, and what befalls it.
func (m leases) member(s fleet, w int, do func(step[fleet])) {
	if !s.members[w].up {
		return
	}
	if w == 0 { // the other one stays well, or nobody would be left to do the work
		m.mishaps(s, w, do)
	}
	if !s.members[w].acts() {
		return
	}
	for j, job := range s.jobs {
		for i, a := range job.tries {
			if int(a.by) == w+1 && a.belief != gone {
				m.call(s, w, j, i, do)
			}
		}
	}
	if s.members[w].reaches() && !s.down {
		m.statements(s, w, do)
	}
}

// mishaps are what a worker cannot help.
func (m leases) mishaps(s fleet, w int, do func(step[fleet])) {
	me := s.members[w]
	befalls := func(e event, what string, changed member) {
		if m.may(s, e) {
			next := s
			next.left--
			next.members[w] = changed
			do(step[fleet]{action: by(w, what, -1, 0), to: next})
		}
	}
	passes := func(what string, changed member) {
		next := s
		next.members[w] = changed
		do(step[fleet]{action: by(w, what, -1, 0), to: next, fair: true})
	}
	if m.may(s, crash) {
		next := s
		next.left--
		next.members[w] = member{listed: me.listed, still: me.still}
		next.drop(w, false)
		do(step[fleet]{action: by(w, "dies", -1, 0), to: next})
	}
	changed := me
	if changed.leaving = true; !me.leaving {
		befalls(stop, "is told to stop", changed)
	}
	changed = me
	changed.frozen, changed.hurt = !me.frozen, true
	if me.frozen {
		passes("thaws", changed)
	} else {
		befalls(freeze, "freezes", changed)
	}
	changed = me
	changed.cut, changed.hurt = !me.cut, true
	if me.cut {
		passes("reaches Postgres again", changed)
	} else {
		befalls(cut, "is cut off from Postgres", changed)
	}
}

// drop ends all that a worker believes. One that is still up has ends to write.
func (s *fleet) drop(w int, up bool) {
	for j := range s.jobs {
		for i := range s.jobs[j].tries {
			a := &s.jobs[j].tries[i]
			switch {
			case int(a.by) != w+1 || a.belief == gone || a.belief == ended && up:
			case up && a.belief != unclear:
				a.belief, a.verdict, a.stop = ended, interrupted, false
			default:
				a.belief, a.verdict, a.stop, a.told = gone, unknown, false, false
			}
		}
		s.jobs[j].tidy()
	}
}

// call is what a worker does with one attempt by itself: attempt.go.
func (m leases) call(s fleet, w, j, i int, do func(step[fleet])) {
	a := s.jobs[j].tries[i]
	becomes := func(what string, b belief, o outcome, cost uint8, fair bool) {
		next := s
		next.left -= cost
		n := &next.jobs[j].tries[i]
		n.belief, n.verdict, n.stop = b, o, false
		do(step[fleet]{action: by(w, what, j, a.lease), to: next, fair: fair})
	}
	switch a.belief {
	case claimed:
		m.begin(s, w, j, i, do)
	case calling, hung:
		becomes("an answer to", ended, ok, 0, a.belief == calling)
		if m.events&fail != 0 {
			becomes("a failure of", ended, failure, 0, false)
		}
		if m.may(s, limit) {
			becomes("a refusal of", ended, limited, 1, false)
		}
	}
	if a.belief != calling {
		return
	}
	if a.stop {
		becomes("aborts", ended, aborted, 0, true)
	}
	if s.members[w].leaving {
		becomes("gives up", ended, interrupted, 0, true)
	}
	if m.may(s, hang) {
		becomes("hangs in", hung, unknown, 1, false)
	}
}

// begin is mayStart.
func (m leases) begin(s fleet, w, j, i int, do func(step[fleet])) {
	a, me := &s.jobs[j].tries[i], s.members[w]
	if a.stop || me.leaving || me.buried || !me.fresh() && !m.is(unfresh) {
		a.belief, a.verdict, a.stop = ended, interrupted, false
		do(step[fleet]{action: by(w, "does not start", j, a.lease), to: s, fair: true})
		return
	}
	a.belief = calling
	start := step[fleet]{action: by(w, "starts", j, a.lease), to: s, fair: true}
	if !a.open {
		start.broke = "a call starts on a lease that was taken away"
	}
	do(start)
}

// statements are what a worker asks of Postgres.
func (m leases) statements(s fleet, w int, do func(step[fleet])) {
	me := s.members[w]
	m.life(s, w, do)
	for j, job := range s.jobs {
		if job.state == queued && job.ready && me.listed && !me.leaving && me.fresh() && s.busy(w) < slots && !job.litters(w) {
			m.claim(s, w, j, do)
		}
		for i, a := range job.tries {
			if int(a.by) == w+1 && !a.past {
				m.clear(s, w, j, i, do)
			}
		}
	}
}

// life is how a worker finds out that it was buried, starts afresh, and leaves.
func (m leases) life(s fleet, w int, do func(step[fleet])) {
	me := s.members[w]
	if !me.listed && !me.buried {
		next := s
		next.members[w].buried = true
		next.drop(w, true)
		do(step[fleet]{action: by(w, "finds itself buried", -1, 0), to: next, fair: true})
	}
	if s.busy(w) > 0 {
		return
	}
	if me.buried {
		next := s.renamed(w)
		next.members[w] = member{up: true, listed: true, leaving: me.leaving}
		do(step[fleet]{action: by(w, "joins under a new name", -1, 0), to: next, fair: true})
	}
	if me.leaving {
		next := s
		next.drop(w, false)
		next = next.renamed(w)
		next.members[w] = member{}
		do(step[fleet]{action: by(w, "leaves", -1, 0), to: next, fair: true})
	}
}

// renamed makes a worker's attempts those of somebody who was.
func (s fleet) renamed(w int) fleet {
	for j := range s.jobs {
		for i := range s.jobs[j].tries {
			if a := &s.jobs[j].tries[i]; int(a.by) == w+1 {
				a.past = true
			}
		}
	}
	return s
}

// busy is how many slots a worker has in use.
func (s *fleet) busy(w int) (n int) {
	for _, j := range s.jobs {
		for _, a := range j.tries {
			n += count(int(a.by) == w+1 && a.belief > unclear)
		}
	}
	return n
}

// litters tells whether a worker has a claim to forget. It could claim before that: the instance would only grow by it.
func (j job) litters(w int) bool {
	for _, a := range j.tries {
		if int(a.by) == w+1 && !a.past && a.belief == gone && a.claim {
			return true
		}
	}
	return false
}

// claim is claimSQL, for one job.
func (m leases) claim(s fleet, w, j int, do func(step[fleet])) {
	job := &s.jobs[j]
	n := 0
	for n < live && job.tries[n].lease != 0 {
		n++
	}
	if n == live {
		do(step[fleet]{action: by(w, claims, j, job.lease+1), to: s, broke: "the instance needs more attempts"})
		return
	}
	job.state, job.ready, job.worker = running, false, uint8(w+1)
	job.lease++
	job.tries[n] = attempt{lease: job.lease, by: job.worker, open: true, claim: true, belief: claimed}
	do(step[fleet]{action: by(w, claims, j, job.lease), to: s, fair: true})
	if m.may(s, loss) {
		s.left--
		job.tries[n].belief = unclear
		do(step[fleet]{action: by(w, claimsBlindly, j, job.lease), to: s})
	}
}

// clear writes what became of an attempt, and clears up behind it.
func (m leases) clear(s fleet, w, j, i int, do func(step[fleet])) {
	a := s.jobs[j].tries[i]
	becomes := func(what string, next fleet, fair bool, broke string, change func(n *attempt)) {
		change(&next.jobs[j].tries[i])
		next.jobs[j].tidy()
		do(step[fleet]{action: by(w, what, j, a.lease), to: next, fair: fair, broke: broke})
	}
	if a.told {
		becomes("hears of the cancel of", s, true, "", func(n *attempt) { n.told, n.stop = false, a.belief == claimed || a.belief == calling })
	}
	switch {
	case a.belief == ended:
		next, broke := m.end(s, j, i, a.verdict)
		becomes("writes the end of", next, true, broke, func(n *attempt) { n.belief, n.verdict, n.told = gone, unknown, false })
		if m.may(s, loss) {
			next.left--
			becomes("writes, the reply is lost, the end of", next, false, broke, func(*attempt) {})
		}
	case a.belief == unclear && !m.is(noGiveBack):
		next, broke := m.end(s, j, i, interrupted)
		becomes("gives back", next, true, broke, func(n *attempt) { n.belief, n.claim, n.told = gone, false, false })
	case a.belief == gone && a.claim && !a.open && s.members[w].listed:
		becomes("forgets the claim of", s, true, "", func(n *attempt) { n.claim = false })
	}
}

// end is endSQL, for one attempt.
func (m leases) end(s fleet, j, i int, o outcome) (next fleet, broke string) {
	job := &s.jobs[j]
	a := &job.tries[i]
	held := job.state == running && job.lease == a.lease && job.worker == a.by
	a.open = false
	if m.fence(*job, *a) {
		job.move(o)
		if !held {
			broke = "an end without the lease changed a job"
		}
	}
	return s, broke
}

// fence tells whether an end changes its job: where j.lease = g.lease and j.worker = $1.
func (m leases) fence(j job, a attempt) bool {
	switch {
	case m.is(noFence):
		return j.state == running
	case m.is(noWorkerCheck):
		return j.lease == a.lease
	case m.is(noLeaseCheck):
		return j.worker == a.by
	}
	return j.lease == a.lease && j.worker == a.by
}
