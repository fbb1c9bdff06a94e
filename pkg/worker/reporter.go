package worker

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/sluicedev/sluice/pkg/breaker"
	"github.com/sluicedev/sluice/pkg/llm"
	"github.com/sluicedev/sluice/pkg/retry"
	"github.com/sluicedev/sluice/pkg/upstream"
)

// reporter tells the fleet what this worker's calls met. Failures are told within reportPause; successes in bulk with
// them, with news of the quota, or once a second while they matter to anybody; never one by one.
type reporter struct {
	life *life
	wake chan struct{}

	mu      sync.Mutex
	tallies map[*line]*tally
}

// tally is what was not reported yet of one upstream.
type tally struct {
	report  breaker.Report
	since   time.Time // of its first call
	seen    *upstream.Observation
	seenAt  time.Time
	waiting []chan reply // failed calls that wait to hear whether they are charged
}

type reply struct {
	status upstream.Status
	known  bool
}

// tallyWindow is how long successes are worth telling: as long as the breaker's window.
const tallyWindow = breaker.Buckets * breaker.Bucket

func newReporter(l *life) *reporter {
	return &reporter{life: l, wake: make(chan struct{}, 1), tallies: map[*line]*tally{}}
}

func (r *reporter) tally(line *line) *tally {
	t := r.tallies[line]
	if t == nil {
		t = &tally{}
		r.tallies[line] = t
	}
	return t
}

// count is where a call of a generation is counted; nil where the breaker has moved on since.
func (t *tally) count(generation int64) *breaker.Report {
	if generation < t.report.Generation {
		return nil
	}
	if generation > t.report.Generation {
		t.report = breaker.Report{Generation: generation}
	}
	if t.report.OK+t.report.Failed == 0 {
		t.since = time.Now()
	}
	return &t.report
}

func (r *reporter) succeeded(a *attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.tally(a.line).count(r.life.generationOf(a)); c != nil {
		c.OK++
		c.Trailing, c.Jobs = 0, nil
	}
	r.life.succeeds(a)
}

// failed counts a failure and waits for the report: what the breaker is then decides whether the job is charged.
func (r *reporter) failed(a *attempt, retryAfter time.Duration) (status upstream.Status, known bool) {
	answer := make(chan reply, 1)
	r.mu.Lock()
	t := r.tally(a.line)
	if c := t.count(r.life.generationOf(a)); c != nil {
		c.Failed++
		c.Trailing++
		if len(c.Jobs) < breaker.DefaultRules.RunJobs && !slices.Contains(c.Jobs, a.job.ID) {
			c.Jobs = append(c.Jobs, a.job.ID)
		}
		c.RetryAfter = max(c.RetryAfter, retryAfter)
	}
	t.waiting = append(t.waiting, answer)
	r.life.fails(a.line) // before the tally can be taken, for that takes it off the run again
	r.mu.Unlock()
	nudge(r.wake)
	select {
	case got := <-answer:
		return got.status, got.known
	case <-r.life.records.Done():
		return status, false
	}
}

// succeeds ends this worker's own run.
func (l *life) succeeds(a *attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.line.succeeded(a.began)
}

// fails counts this worker's own run of failures: a few in a row stop its starts until the fleet has heard of them.
func (l *life) fails(line *line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line.run++
}

// observe keeps the newest quota headers.
func (r *reporter) observe(line *line, s llm.Start) {
	seen := observation(s.Header)
	if seen == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.tally(line); t.seen == nil || s.At.After(t.seenAt) {
		t.seen, t.seenAt = seen, s.At
	}
}

func (r *reporter) run(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-r.wake:
			pause(ctx, reportPause) // failures that come together are one report
			r.flush(ctx)
		case <-tick.C:
			r.flush(ctx)
		}
	}
	r.flush(context.WithoutCancel(ctx))
}

// flush sends what is worth sending.
func (r *reporter) flush(ctx context.Context) {
	for line, t := range r.take() {
		var seen *upstream.Observation
		if t.seen != nil {
			seen = t.seen
			seen.Age = time.Since(t.seenAt)
		}
		status, err := bounded(ctx, func(ctx context.Context) (upstream.Status, error) {
			return r.life.upstreams.Report(ctx, line.name, r.life.id, t.report, seen)
		})
		if err != nil {
			r.life.log.Warn("what calls met could not be reported", "upstream", line.name, "error", err)
		}
		r.life.reported(line, len(t.waiting), status, err == nil)
		for _, answer := range t.waiting {
			answer <- reply{status, err == nil}
		}
	}
}

// take takes the tallies that are due, and drops successes that are too old to be news.
func (r *reporter) take() map[*line]*tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	due := map[*line]*tally{}
	for line, t := range r.tallies {
		if t.due(r.life.statusOf(line)) {
			due[line] = t
			delete(r.tallies, line)
		} else if time.Since(t.since) > tallyWindow {
			t.report = breaker.Report{Generation: t.report.Generation}
		}
	}
	return due
}

// due tells whether a tally is worth a write: failures always; successes where a run of failures or a suspicion is known
// to the fleet; news of the quota where the fleet's are older than a tick.
func (t *tally) due(s upstream.Status) bool {
	if len(t.waiting) > 0 || t.report.Failed > 0 {
		return true
	}
	if t.report.OK > 0 && (s.Failures > 0 || s.Suspected) {
		return true
	}
	return t.seen != nil && (s.ObservedAt == nil || s.Now.Sub(*s.ObservedAt) >= tickEvery)
}

func (l *life) statusOf(line *line) upstream.Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return line.status
}

// reported takes the fleet's answer to a report: so many failures of this worker's own run are part of the fleet's now.
func (l *life) reported(line *line, failures int, status upstream.Status, known bool) {
	l.mu.Lock()
	line.run = max(0, line.run-failures)
	if known {
		line.learn(status)
	}
	l.mu.Unlock()
	nudge(l.wake)
}

// observation reads the headers of https://platform.openai.com/docs/guides/rate-limits. Limits of 0 or below mean that
// the provider does not know them (Azure).
func observation(h http.Header) *upstream.Observation {
	o := upstream.Observation{Requests: reading(h, "requests"), Tokens: reading(h, "tokens")}
	if !o.Requests.Known && !o.Tokens.Known {
		return nil
	}
	return &o
}

func reading(h http.Header, dimension string) upstream.Reading {
	limit, err := strconv.ParseInt(h.Get("x-ratelimit-limit-"+dimension), 10, 64)
	remaining, err2 := strconv.ParseInt(h.Get("x-ratelimit-remaining-"+dimension), 10, 64)
	if err != nil || err2 != nil || limit <= 0 || remaining < 0 {
		return upstream.Reading{}
	}
	reset, _ := retry.ParseReset(h.Get("x-ratelimit-reset-" + dimension))
	return upstream.Reading{Known: true, Limit: limit, Remaining: remaining, Reset: reset}
}
