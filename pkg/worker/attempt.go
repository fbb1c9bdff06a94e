package worker

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/breaker"
	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/llm"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/retry"
	"github.com/sluicedev/sluice/pkg/upstream"
)

// attempt is one try at a job by this worker.
type attempt struct {
	job      queue.Claimed
	jobType  jobtype.Type
	line     *line
	claim    uuid.UUID
	permit   permit       // of the quota
	cost     jobtype.Cost // what the payload tells of it
	estimate float64      // what the call was taken to cost, in tokens
	cold     bool         // it is made with the permit of a probe, and is the first call ever
	began    time.Time    // the call
	counted  bool         // as a success; guarded by the reporter's mutex
	traceID  string       // of the call; "": none
	checked  time.Time    // when its claim was sent, which looked at the breaker

	// Guarded by the life's mutex.
	generation int64     // of the breaker when the call started, or when it ended its probe
	probe      uuid.UUID // the permit it is made with; uuid.Nil: an ordinary call, or the probe has ended
	cancel     context.CancelCauseFunc
	cancelled  bool
}

func (a *attempt) lease() queue.Lease { return queue.Lease{JobID: a.job.ID, Lease: a.job.Lease} }

// ends makes an end the attempt's own.
func (a *attempt) ends(end queue.End) queue.End {
	end.JobID, end.Lease = a.job.ID, a.job.Lease
	return end
}

// start runs claimed jobs.
func (l *life) start(line *line, gate queue.Gate, jobs ...queue.Claimed) {
	attempts := l.prepare(line, gate, jobs)
	for _, a := range attempts {
		a.permit = l.spend(a)
	}
	l.work.Add(len(attempts))
	l.mu.Lock()
	l.todo = append(l.todo, attempts...)
	l.mu.Unlock()
	for range attempts {
		go l.run()
	}
}

func (l *life) prepare(line *line, gate queue.Gate, jobs []queue.Claimed) []*attempt {
	l.mu.Lock()
	defer l.mu.Unlock()
	attempts := make([]*attempt, len(jobs))
	for i, job := range jobs {
		a := l.running[queue.Lease{JobID: job.ID, Lease: job.Lease}]
		a.generation, a.probe = gate.Generation, gate.Probe
		a.cold = a.probe != uuid.Nil && line.status.Cold
		a.jobType, _ = l.cfg.Types.Lookup(job.Type)
		attempts[i] = a
	}
	return attempts
}

// run makes calls while there are any to make. There is one of it for each call; but where handlers take next to no time,
// the first ones do the work of the others.
func (l *life) run() {
	for a := l.next(); a != nil; a = l.next() {
		end := l.try(a)
		l.tell(a, end)
		l.recorder.record(end, a)
	}
}

// tell tells the hook, and whoever debugs, how the attempt ended.
func (l *life) tell(a *attempt, end queue.End) {
	var took time.Duration
	if !a.began.IsZero() {
		took = time.Since(a.began)
	}
	if ended := a.line.ended[a.job.Type]; ended != nil {
		ended(end, a.job.StartedAt.Sub(a.job.Since), took)
	}
	if l.log.Enabled(l.records, slog.LevelDebug) {
		l.log.DebugContext(l.records, "an attempt ended", append(a.names(),
			"outcome", end.Outcome, "state", end.State, "status", end.Status, "request_id", end.RequestID, "took", took)...)
	}
}

// names are the attempt's keys of the log. Its error is not among them: it may quote the prompt.
func (a *attempt) names() []any {
	names := []any{"job_id", a.job.ID, "attempt", a.job.Lease, "type", a.job.Type}
	if upstream := value(a.job.Upstream); upstream != "" {
		_, model, _ := strings.Cut(upstream, ":")
		names = append(names, "upstream", upstream, "model", model)
	}
	if a.traceID != "" {
		names = append(names, "trace_id", a.traceID)
	}
	return names
}

func (l *life) next() *attempt {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.todo) == 0 {
		l.todo = nil
		return nil
	}
	a := l.todo[0]
	l.todo = l.todo[1:]
	return a
}

// release frees attempts' slots. Their ends have been written by now, so a slot is never free before its job is.
func (l *life) release(ended []pending) {
	l.mu.Lock()
	for _, p := range ended {
		a := p.attempt
		delete(l.running, a.lease())
		l.free++
		a.line.running--
		if l.left[a.claim]--; l.left[a.claim] == 0 {
			delete(l.left, a.claim)
			l.done = append(l.done, a.claim)
		}
	}
	l.mu.Unlock()
	nudge(l.wake)
	for _, p := range ended {
		if p.end.State == queue.Delayed && p.end.Delay < promptDelay {
			time.AfterFunc(p.end.Delay, func() { nudge(l.due) })
		}
		l.work.Done()
	}
}

// cancel aborts the attempt of a job that was cancelled.
func (l *life) cancel(lease queue.Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a := l.running[lease]; a != nil {
		a.cancelled = true
		if a.cancel != nil {
			a.cancel(errCancelled)
		}
	} else if l.early != nil {
		l.early[lease] = true
	}
}

// try makes the call and says how the attempt ends.
func (l *life) try(a *attempt) queue.End {
	ctx, cancel := context.WithCancelCause(l.calls)
	defer cancel(nil)
	pause(ctx, time.Until(a.permit.notBefore))
	if !l.hasNews(ctx, a) || !l.mayStart(a, cancel) {
		l.reporter.unspent(a)
		return a.ends(l.unanswered(a, errNotStarted))
	}
	if end, never := l.misfit(a); never {
		return end
	}
	ctx, stop := context.WithTimeout(ctx, a.jobType.Timeout)
	defer stop()
	ctx, traced := l.trace(ctx, a)
	l.begins(a)
	result, err := l.call(ctx, l.handlers[a.job.Type], Job{
		ID: a.job.ID, Tenant: a.job.Tenant, Type: a.job.Type, Upstream: value(a.job.Upstream), Payload: a.job.Payload,
		Attempt: a.job.Attempts + 1, CallID: a.job.ID.String() + "/" + strconv.FormatInt(a.job.Lease, 10),
		started: func(s llm.Start) { l.started(a, s) },
	})
	end := a.ends(l.judge(a, result, err, context.Cause(ctx)))
	traced(end)
	return end
}

// trace begins the trace of the attempt's call, where somebody wants one.
func (l *life) trace(ctx context.Context, a *attempt) (context.Context, func(queue.End)) {
	if l.cfg.Hooks.Calling == nil {
		return ctx, func(queue.End) {}
	}
	ctx, ended := l.cfg.Hooks.Calling(ctx, a.job)
	if l.cfg.Hooks.TraceID != nil {
		a.traceID = l.cfg.Hooks.TraceID(ctx)
	}
	return ctx, ended
}

// begins notes that the call starts now.
func (l *life) begins(a *attempt) {
	a.began = time.Now()
	if a.permit.granted.IsZero() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	a.line.late(a.began.Sub(a.permit.notBefore))
}

// misfit ends an attempt whose request asks for more than the whole limit, before it is sent: no wait would help it. What
// its characters come to is not known well enough for that: the data of a picture is text too.
func (l *life) misfit(a *attempt) (end queue.End, never bool) {
	if !a.line.paced {
		return end, false
	}
	l.mu.Lock()
	misfit, fits := a.line.status.Fits(a.cost.Most)
	l.mu.Unlock()
	if fits {
		return end, false
	}
	l.unprobe(a)
	l.reporter.unspent(a)
	return a.ends(reject(misfit.Error())), true
}

// hasNews tells whether what is known of the breaker is new enough to start a call by it, after reading it anew if need be:
// a worker that was frozen since the claim would else call by a copy from before.
func (l *life) hasNews(ctx context.Context, a *attempt) bool {
	l.mu.Lock()
	old := a.line.paced && time.Since(a.checked) > newsLast && time.Since(a.line.readAt) > newsLast
	l.mu.Unlock()
	if !old {
		return true
	}
	_, err := bounded(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, l.readUpstreams(ctx) })
	if err != nil {
		l.log.Warn("a call does not start, as the breaker could not be read", append(a.names(), "error", err)...)
	}
	return err == nil
}

// mayStart looks once more, right before the call: at the breaker, at the lease, and whether the job was cancelled.
func (l *life) mayStart(a *attempt, cancel context.CancelCauseFunc) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.cancel = cancel
	return !a.cancelled && !l.leaving && l.fresh() && l.calls.Err() == nil && a.line.admits(a.generation, a.probe)
}

// started is told by the call that the provider has begun to answer. It ends a probe: a slow model must not keep the
// breaker half-open for minutes. From here on the call is an ordinary one.
func (l *life) started(a *attempt, s llm.Start) {
	if !a.line.paced {
		return
	}
	seen := l.reporter.observe(a, s.Header, s.At)
	l.answered(a, breaker.Answer{Alive: true, OK: true}, seen)
	l.reporter.succeeded(a)
}

// judge turns what the handler returned into the attempt's end, and tells the fleet what it says of the upstream.
func (l *life) judge(a *attempt, result Result, err error, cause error) queue.End {
	if err == nil {
		return l.succeeded(a, result)
	}
	if cause == errCancelled || cause == errStopping || cause == errBuried {
		return withUsage(l.unanswered(a, cause), usageOf(err))
	}
	var answer *llm.Error
	if errors.As(err, &answer) {
		return l.refused(a, answer)
	}
	l.unprobe(a)
	text := llm.StorableText(err.Error(), maxError)
	var rejected *rejection
	var later *snooze
	switch {
	case errors.As(err, &rejected):
		return reject(text)
	case errors.As(err, &later):
		return limited(text, later.delay)
	}
	return again(a.job, text, a.jobType.Backoff.Delay(a.job.Attempts+1, rand.Float64()), true)
}

func (l *life) succeeded(a *attempt, result Result) queue.End {
	if a.line.paced {
		l.answered(a, breaker.Answer{Alive: true, OK: true}, nil)
		l.reporter.succeeded(a)
	}
	l.used(a, result.Usage)
	stored, err := result.stored()
	if err != nil {
		return reject("the result cannot be written as JSON: " + llm.StorableText(err.Error(), maxError))
	}
	end := done(stored)
	end.Status, end.RequestID = result.status, result.requestID
	return withUsage(end, result.Usage)
}

// unanswered is the end of a call that was stopped by this side, or never made: the job loses nothing by it.
func (l *life) unanswered(a *attempt, cause error) queue.End {
	l.unprobe(a)
	end := interrupted(cause.Error())
	if cause == errCancelled {
		end.Outcome = queue.WasCancelled
	}
	return end
}

// refused handles an answer of the provider that is no result, or none at all.
func (l *life) refused(a *attempt, answer *llm.Error) queue.End {
	if answer.Kind == llm.Invalid { // never sent
		l.unprobe(a)
		return reject(answer.Error())
	}
	verdict := retry.Classify(answerOf(answer))
	text := llm.StorableText(answer.Error(), maxError)
	var end queue.End
	switch verdict.Class {
	case retry.RateLimited, retry.SlowDown:
		l.answered(a, breaker.Answer{Alive: true}, l.reporter.limited(a, answer, verdict))
		// Every try that was not charged was turned away: the more of them, the wider the spread.
		strikes := int(a.job.Lease) - a.job.Attempts
		end = limited(text, a.jobType.Backoff.Limited(verdict.RetryAfter, strikes, rand.Float64()))
	case retry.Account, retry.Credentials, retry.Configuration:
		end = l.held(a, verdict, text)
	case retry.Failure:
		delay := a.jobType.Backoff.Failed(verdict.RetryAfter, a.job.Attempts+1, rand.Float64())
		charged, probe := l.failed(a, verdict)
		end = again(a.job, text, delay, charged)
		end.Behind = probe // two probes in a row take different jobs
	default: // the request is at fault, or can never fit
		l.answered(a, breaker.Answer{Alive: true}, nil) // no success, but it answered, and so lives
		end = reject(text)
	}
	end.Status, end.RequestID, end.RetryAfter = answer.Status, answer.RequestID, verdict.RetryAfter
	return withUsage(end, answer.Usage)
}

// failed reports a failure of the provider and tells whether the job is charged for it: not for a probe, and not while
// the breaker is open. The first call ever is a probe by its permit alone, and an ordinary call by what it costs.
func (l *life) failed(a *attempt, verdict retry.Verdict) (charged, probe bool) {
	if !a.line.paced {
		return true, false
	}
	if l.answered(a, breaker.Answer{RetryAfter: verdict.RetryAfter}, nil) {
		return a.cold, true
	}
	if !l.isFresh() {
		return true, false // this worker was frozen or cut off: what its calls met then is no news of the provider
	}
	status, known := l.reporter.failed(a, verdict.RetryAfter)
	return !known || status.State == string(breaker.Closed) && status.Generation == l.generationOf(a), false
}

// held handles a refusal that is not the job's fault alone: the account's, the credential's, the model's. The job waits
// for the breaker, or for another worker, uncharged, unless it alone meets it.
func (l *life) held(a *attempt, verdict retry.Verdict, text string) queue.End {
	if !a.line.paced {
		return reject(text)
	}
	l.refuse(a, breaker.Reason(verdict.Class.HoldReason()))
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	end := hold(text)
	switch {
	case a.line.status.State != string(breaker.Closed):
		end.Behind = true // the next probe takes another job
	case a.job.HeldAt != nil && a.line.alone(a.job.StartedAt.Sub(*a.job.HeldAt)+now.Sub(a.began), now):
		return reject(text)
	case a.line.status.Parked(a.line.credential):
		// It is this worker's credential alone: the others get the job at once.
	default: // not confirmed yet
		end.State, end.Delay = queue.Delayed, l.cfg.Unconfirmed
		a.line.refused(now)
	}
	return end
}

// refuse tells the fleet of a refusal. What the breaker is then decides where the job goes.
func (l *life) refuse(a *attempt, reason breaker.Reason) {
	if l.answered(a, breaker.Answer{Reason: reason}, nil) {
		return
	}
	status, err := bounded(l.records, func(ctx context.Context) (upstream.Status, error) {
		return l.upstreams.Refuse(ctx, a.line.name, l.id, breaker.Refused{
			Generation: l.generationOf(a), Reason: reason, Credential: a.line.credential, Job: a.job.ID,
		})
	})
	if err != nil {
		l.log.Warn("a refusal could not be told", "upstream", a.line.name, "error", err)
		return
	}
	l.learn(a.line, status)
}

// answerOf is what retry has to know of an answer.
func answerOf(e *llm.Error) retry.Answer {
	kinds := map[llm.Kind]retry.Kind{
		llm.Refused: retry.KindStatus, llm.Failed: retry.KindFailed, llm.Malformed: retry.KindMalformed, llm.Cut: retry.KindCut,
		llm.Timeout: retry.KindTimeout, llm.Canceled: retry.KindTransport, llm.Transport: retry.KindTransport,
	}
	return retry.Answer{
		Kind: kinds[e.Kind], Status: e.Status, Header: e.Header, Type: e.Type, Code: e.Code, Message: e.Message, Now: time.Now(),
	}
}

func usageOf(err error) *llm.Usage {
	var answer *llm.Error
	if errors.As(err, &answer) {
		return answer.Usage
	}
	return nil
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
