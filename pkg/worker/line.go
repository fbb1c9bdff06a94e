package worker

import (
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/breaker"
	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/llm"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/upstream"
)

// line is one queue of jobs that wait together: those of an upstream, or of a type that is not paced. Its life's mutex
// guards it.
type line struct {
	name     string
	paced    bool
	types    []string
	timeouts []time.Duration // of types
	longest  time.Duration   // of timeouts

	ended map[string]func(end queue.End, waited, took time.Duration) // by type: whom to tell

	credential string // fingerprint of the key that calls are made with; "": not known, as a handler of one's own has its own

	hot     bool            // somebody may be waiting
	running int             // slots it holds
	known   bool            // status has been read
	status  upstream.Status // a copy, at most a tick old
	readAt  time.Time       // when it was asked for last with all the others, on this worker's clock
	probing bool            // this worker has the permit, or asks for it
	run     int             // failures in a row here that are not reported yet

	mark   queue.Mark // where the next claim starts
	headAt time.Time  // when the latest claim started at the head of the line

	purse    purse         // permits
	claiming bool          // jobs for it are being claimed
	delay    time.Duration // by which calls start later than their permits allow, on average
	askAt    time.Time     // not before this is asked for more
	visitAt  time.Time     // not before this is the upstream visited but for failures
	alarm    bool          // the claimer will be woken for that
	tokens   float64       // of a call, on average; 0: not known yet
	owed     float64       // tokens by which the calls so far cost more than was booked for them

	// What this worker met with its own credential: see alone, careful and trial.
	parked    bool      // it was told to be
	claimedAt time.Time // when it claimed last
	okBegan   time.Time // when the latest call began that succeeded
	refusals  int       // of its credential or model since the latest success
	refusedAt time.Time // the latest of them
}

// lines are those that a worker with these handlers may claim from.
func lines(types jobtype.Set, handlers map[string]Handler, providers map[string]llm.Provider) map[string]*line {
	all := map[string]*line{}
	for _, t := range types.All() {
		if handlers[t.Name] == nil {
			continue
		}
		for _, name := range lineNames(t) {
			l := all[name]
			if l == nil {
				l = &line{name: name, paced: t.Upstream != ""}
				all[name] = l
			}
			if provider := providers[t.Upstream]; provider != nil && !t.Custom {
				l.credential = provider.Credential()
			}
			l.types = append(l.types, t.Name)
			l.timeouts = append(l.timeouts, t.Timeout)
			l.longest = max(l.longest, t.Timeout)
		}
	}
	return all
}

func lineNames(t jobtype.Type) []string {
	if t.Upstream == "" {
		return []string{t.Name}
	}
	return t.UpstreamNames()
}

// open tells whether ordinary calls may start.
func (l *line) open() bool {
	return !l.paced || l.known && l.status.State == string(breaker.Closed) && !l.status.Cold && l.run < localRun
}

// wantsProbe tells whether to ask for the permit of a probe. While nobody has been heard, the next one is to be had as soon as
// a call was refused. Without care, a worker with a bad key would take one after the other, with job after job, and keep
// another one, whose key is suspected, from the second call that decides it.
func (l *line) wantsProbe(now time.Time) bool {
	return l.paced && l.known && l.status.AdmitsWith(l.credential) && !l.probing && (!l.status.Cold || l.careful(1, now) > 0)
}

// from is where a claim starts now: at the head of the line once in a while, else where the last one came to.
func (l *line) from(now time.Time) queue.Mark {
	if now.Sub(l.headAt) >= headEvery {
		l.mark, l.headAt = queue.Mark{}, now
	}
	return l.mark
}

// gate is for an ordinary claim.
func (l *line) gate() queue.Gate {
	if !l.paced {
		return queue.Gate{}
	}
	return queue.Gate{Upstream: l.name, Generation: l.status.Generation}
}

// admits tells, right before a call, whether it may still start. A change of the breaker since a probe was granted has ended
// its permit: an operator has paused the upstream, say, while the job was claimed.
func (l *line) admits(generation int64, probe uuid.UUID) bool {
	if probe != uuid.Nil {
		return l.status.Generation <= generation
	}
	return l.open() && (!l.paced || l.status.Generation == generation)
}

// learn takes a newer copy of the upstream's status. Two reads that cross may come in the wrong order. Those that lie
// further apart did not cross: the database's clock was set back, or a failover lost its last changes.
func (l *line) learn(s upstream.Status) {
	older := s.Generation < l.status.Generation || s.Generation == l.status.Generation && s.Now.Before(l.status.Now)
	if l.known && older && s.Now.Sub(l.status.Now).Abs() < statementLimit {
		return
	}
	if s.Generation != l.status.Generation {
		l.refusals = 0 // what stands in doubt has been decided
	}
	l.status, l.known = s, true
	if s.Wait == 0 && s.Tight == upstream.Loose && l.purse.requests == 0 && l.visitAt.Before(l.askAt) {
		l.askAt = l.visitAt // what a visit was told to wait for is over: somebody's answer told of more
	}
}

// succeeded notes a success of a call that began then.
func (l *line) succeeded(began time.Time) {
	l.run, l.refusals = 0, 0
	if began.After(l.okBegan) {
		l.okBegan = began
	}
}

// alone tells whether a job that was refused its credential or model, so long ago and again now, is alone at fault:
// this worker, with the same credential, made another call since then that succeeded. What others met proves nothing,
// as their key may be another one; nor does a call that began before, as the key may have been revoked since.
func (l *line) alone(heldFor time.Duration, now time.Time) bool {
	return !l.okBegan.IsZero() && now.Sub(l.okBegan) < heldFor
}

// visited notes a visit that took so many transactions.
func (l *line) visited(swaps int, now time.Time) {
	l.visitAt = now.Add(spread(visitEvery * time.Duration(max(swaps, 1))))
}

func (l *line) refused(now time.Time) {
	l.refusals++
	l.refusedAt = now
}

// careful limits how many calls may start after a refusal that nobody has confirmed: one at a time, after a pause that
// doubles, until one succeeds: if it is the key, the whole backlog need not find out. Once it is known to be this worker's
// key alone, see trial.
//
// Before its first success, a credential that is not the fleet's also goes one call at a time: it may be an old one.
func (l *line) careful(n int, now time.Time) int {
	if l.refusals == 0 && !l.unproven() {
		return n
	}
	wait := min(tickEvery<<min(l.refusals, 10)/2, maxCareful)
	if l.running > 0 || now.Sub(l.refusedAt) < wait {
		return 0
	}
	return min(n, 1)
}

// unproven tells whether another credential succeeded last, and this one has not yet, as far as this worker knows.
func (l *line) unproven() bool {
	by := l.status.LastOKBy
	return l.okBegan.IsZero() && by != "" && l.credential != "" && by != l.credential
}

// trial limits how many calls may start while this worker's credential is refused and others' is accepted: one now and
// then, to see whether it is accepted again. The jobs are the others'.
func (l *line) trial(n int, every time.Duration, now time.Time) int {
	if l.running > 0 || now.Sub(l.claimedAt) < every {
		return 0
	}
	return min(n, 1)
}
