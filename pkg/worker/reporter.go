package worker

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sluicedev/sluice/pkg/breaker"
	"github.com/sluicedev/sluice/pkg/llm"
	"github.com/sluicedev/sluice/pkg/quota"
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
	since   time.Time    // of its first call
	waiting []chan reply // failed calls that wait to hear whether they are charged

	seen      *quota.Observation
	seenAt    time.Time // when the observed call was admitted
	unread    int       // answers without quota headers
	refusals  []refusal
	slowDowns []time.Time
	unspent   []upstream.Unspent
}

// refusal is a 429 with the local time at which it came.
type refusal struct {
	at    time.Time
	quota quota.Refusal
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

// succeeded counts a success, once for each call: when its first event comes, or if the handler tells of none, at its end.
// The last event of an answer that began before an outage says nothing about the provider now.
func (r *reporter) succeeded(a *attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.counted {
		return
	}
	a.counted = true
	if c := r.tally(a.line).count(r.life.generationOf(a)); c != nil {
		c.OK++
		c.Trailing, c.Jobs = 0, nil
	}
	r.life.succeeds(a)
	if status, _ := r.life.visitable(a.line); status.Parked(a.line.credential) {
		nudge(r.wake)
	}
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

// observe keeps the newest headers, by the time at which the provider admitted the call: half a round trip after it was
// sent, and not when its answer came.
func (r *reporter) observe(a *attempt, h http.Header, at time.Time) *quota.Observation {
	admitted := a.began.Add(min(at.Sub(a.began)/2, maxTrip))
	seen := observation(h)
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tally(a.line)
	if seen == nil {
		t.unread++
		return nil
	}
	if t.seen == nil || admitted.After(t.seenAt) {
		t.seen, t.seenAt = seen, admitted
	}
	aged := *seen
	aged.Age = time.Since(admitted)
	return &aged
}

// maxTrip bounds what is taken for half a round trip.
const maxTrip = 100 * time.Millisecond

// limited counts a refusal of the provider that passes by itself.
func (r *reporter) limited(a *attempt, answer *llm.Error, verdict retry.Verdict) *quota.Observation {
	if !a.line.paced {
		return nil
	}
	now := time.Now()
	var seen *quota.Observation
	if observation(answer.Header) != nil {
		seen = r.observe(a, answer.Header, now)
	}
	r.mu.Lock()
	t := r.tally(a.line)
	if verdict.Class == retry.SlowDown {
		t.slowDowns = append(t.slowDowns, now)
	} else {
		t.refusals = append(t.refusals, refusal{now, quota.Refusal{
			Granted: a.permit.granted, Tokens: a.permit.tokens, Said: said(answer), RetryAfter: verdict.RetryAfter,
		}})
	}
	r.mu.Unlock()
	nudge(r.wake)
	return seen
}

// unspent gives back the permit of a call that was not made.
func (r *reporter) unspent(a *attempt) {
	if a.permit.granted.IsZero() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tally(a.line)
	t.unspent = append(t.unspent, upstream.Unspent{Requests: 1, Tokens: a.permit.tokens, Granted: a.permit.granted})
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
	r.life.closePurses()
	r.flush(context.WithoutCancel(ctx))
}

// flush sends what is worth sending.
func (r *reporter) flush(ctx context.Context) {
	for line, t := range r.due() {
		r.deliver(ctx, line, t, quota.Ask{})
	}
}

// take buys permits, and hands in on the way what there is to tell.
func (r *reporter) take(ctx context.Context, line *line, ask quota.Ask) upstream.Bought {
	r.mu.Lock()
	r.collect(line)
	t := r.tally(line)
	delete(r.tallies, line)
	r.mu.Unlock()
	return r.deliver(ctx, line, t, ask)
}

// deliver makes the visit. A stop does not break it off: nobody would know whether it was made, and what it tells, and the
// permits that it gives back, would be lost.
func (r *reporter) deliver(ctx context.Context, line *line, t *tally, ask quota.Ask) (bought upstream.Bought) {
	status, err := bounded(context.WithoutCancel(ctx), func(ctx context.Context) (status upstream.Status, err error) {
		visit := t.visit(ask)
		visit.Report.Credential = line.credential
		status, bought, err = r.life.upstreams.Visit(ctx, line.name, r.life.id, visit)
		return status, err
	})
	if err != nil {
		r.life.log.Warn("what calls met could not be reported", "upstream", line.name, "error", err)
		bought.Grant = quota.Grant{}
	}
	r.life.reported(line, len(t.waiting), bought.Swaps, status, err == nil)
	for _, answer := range t.waiting {
		answer <- reply{status, err == nil}
	}
	return bought
}

func (t *tally) visit(ask quota.Ask) upstream.Visit {
	v := upstream.Visit{Report: t.report, Seen: t.seen, Unread: t.unread, Unspent: t.unspent, Ask: ask}
	if t.seen != nil {
		t.seen.Age = time.Since(t.seenAt)
	}
	for _, r := range t.refusals {
		r.quota.Age = time.Since(r.at)
		v.Refusals = append(v.Refusals, r.quota)
	}
	for _, at := range t.slowDowns {
		v.SlowDowns = append(v.SlowDowns, time.Since(at))
	}
	return v
}

// due takes the tallies that are due, and drops successes that are too old to be news.
func (r *reporter) due() map[*line]*tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.life.lines {
		r.collect(line)
	}
	due := map[*line]*tally{}
	for line, t := range r.tallies {
		status, free := r.life.visitable(line)
		if t.urgent() || free && (t.due(status) || t.accepted(status, line.credential)) {
			due[line] = t
			delete(r.tallies, line)
		} else if time.Since(t.since) > tallyWindow {
			t.report = breaker.Report{Generation: t.report.Generation}
		}
	}
	return due
}

// collect takes permits that nobody used in time out of a line's purse.
func (r *reporter) collect(line *line) {
	r.life.mu.Lock()
	rest, some := line.rest(time.Now())
	r.life.mu.Unlock()
	if some {
		t := r.tally(line)
		t.unspent = append(t.unspent, rest)
	}
}

// urgent tells whether a tally has to be told whatever it costs: the fleet's breaker may have to open.
func (t *tally) urgent() bool { return len(t.waiting) > 0 || t.report.Failed > 0 }

// due tells whether a tally is worth a visit of its own: refusals and permits always; successes where a run of failures or
// a suspicion is known to the fleet; news of the quota where the fleet's are older than a tick.
func (t *tally) due(s upstream.Status) bool {
	if len(t.refusals) > 0 || len(t.slowDowns) > 0 || len(t.unspent) > 0 {
		return true
	}
	if t.unread >= maxUnread && s.Paced {
		return true
	}
	if t.report.OK > 0 && (s.Failures > 0 || s.Suspected) {
		return true
	}
	return t.seen != nil && (s.ObservedAt == nil || s.Now.Sub(*s.ObservedAt) >= tickEvery)
}

// accepted tells whether a success is news of its credential: that it is not refused any more, or, while another one is
// and no success was told for a while, that this one is not.
func (t *tally) accepted(s upstream.Status, credential string) bool {
	if t.report.OK == 0 || len(s.Refused) == 0 {
		return false
	}
	return s.Parked(credential) || s.LastOKAt == nil || s.Now.Sub(*s.LastOKAt) >= acceptedFor
}

// visitable tells whether it is time for a visit that can wait.
func (l *life) visitable(line *line) (status upstream.Status, free bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return line.status, !time.Now().Before(line.visitAt)
}

// reported takes the fleet's answer to a report: so many failures of this worker's own run are part of the fleet's now.
func (l *life) reported(line *line, failures, swaps int, status upstream.Status, known bool) {
	l.mu.Lock()
	line.visited(swaps, time.Now())
	line.run = max(0, line.run-failures)
	if known {
		line.learn(status)
	}
	l.mu.Unlock()
	nudge(l.wake)
}

// maxUnread answers without quota headers are news where there used to be some.
const maxUnread = 20

// observation reads the headers of https://platform.openai.com/docs/guides/rate-limits; nil: there are none. Limits of 0
// or below mean that the provider does not know them (Azure).
func observation(h http.Header) *quota.Observation {
	o := quota.Observation{Readings: [quota.Dimensions]quota.Reading{
		quota.Requests: reading(h, "requests"), quota.Tokens: reading(h, "tokens"), quota.ProjectTokens: reading(h, "project-tokens"),
	}}
	if o == (quota.Observation{}) {
		return nil
	}
	return &o
}

func reading(h http.Header, dimension string) quota.Reading {
	limit, err := strconv.ParseFloat(h.Get("x-ratelimit-limit-"+dimension), 64)
	remaining, err2 := strconv.ParseFloat(h.Get("x-ratelimit-remaining-"+dimension), 64)
	if err != nil || err2 != nil || !(limit > 0) || !(remaining >= 0) {
		return quota.Reading{}
	}
	reset, _ := retry.ParseReset(h.Get("x-ratelimit-reset-" + dimension))
	return quota.Reading{Limit: limit, Remaining: remaining, Reset: reset}
}

// said is what the body of a 429 told of the limit that was met.
func said(answer *llm.Error) quota.Said {
	limit, used, requested, ok := retry.LimitOf(answer.Message)
	if !ok {
		return quota.Said{}
	}
	wait, _ := retry.TryAgainIn(answer.Message)
	s := quota.Said{Dimension: quota.Requests, Limit: limit, Used: used, Requested: requested, Wait: wait}
	if strings.Contains(answer.Message, "tokens") {
		s.Dimension = quota.Tokens
	}
	return s
}
