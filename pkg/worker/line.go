package worker

import (
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/breaker"
	"github.com/sluicedev/sluice/pkg/jobtype"
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

	hot     bool            // somebody may be waiting
	running int             // slots it holds
	known   bool            // status has been read
	status  upstream.Status // a copy, at most a tick old
	probing bool            // this worker has the permit, or asks for it
	run     int             // failures in a row here that are not reported yet
}

// lines are those that a worker with these handlers may claim from.
func lines(types jobtype.Set, handlers map[string]Handler) map[string]*line {
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

// wantsProbe tells whether to ask for the permit of a probe.
func (l *line) wantsProbe() bool {
	return l.paced && l.known && l.status.Admits && !l.probing
}

// gate is for an ordinary claim.
func (l *line) gate() queue.Gate {
	if !l.paced {
		return queue.Gate{}
	}
	return queue.Gate{Upstream: l.name, Generation: l.status.Generation}
}

// admits tells, right before a call, whether it may still start.
func (l *line) admits(generation int64, probe uuid.UUID) bool {
	return probe != uuid.Nil || l.open() && (!l.paced || l.status.Generation == generation)
}

// learn takes a newer copy of the upstream's status.
func (l *line) learn(s upstream.Status) {
	if l.known && (s.Generation < l.status.Generation || s.Now.Before(l.status.Now)) {
		return // read before the one that is here
	}
	l.status, l.known = s, true
}
