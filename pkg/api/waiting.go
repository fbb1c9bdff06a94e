package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/upstream"
)

// circumstances are all that decides why a job waits.
type circumstances struct {
	last     *queue.Attempt   // the latest one; nil: there was none
	upstream *upstream.Status // nil: the job is not paced, or nothing is known
	ahead    int              // queued jobs before it in its line, counted up to queue.MaxPosition
	shared   bool             // some of them are other tenants': their number is not for this one to know
	served   bool             // a living worker has a handler for its type, and claims from its line
	now      time.Time        // by the database's clock
}

// waiting tells why a job waits; nil, where it does not.
func (s *Server) waiting(ctx context.Context, job queue.Job) (*Waiting, error) {
	if job.State != queue.Queued && job.State != queue.Delayed {
		return nil, nil
	}
	fleet, err := s.fleet.get(ctx, everybody)
	if err != nil {
		return nil, err
	}
	about := circumstances{now: fleet.now(), upstream: fleet.find(job.Upstream)}
	if job.State == queue.Delayed {
		about.last, err = s.lastAttempt(ctx, job)
		return whyWaiting(job, about), err
	}
	ahead, others, err := s.queue.Position(ctx, job)
	if err != nil {
		return nil, err
	}
	about.ahead, about.shared = ahead, others > 0
	about.served, err = s.served.get(ctx, task{job.Type, job.Line()})
	return whyWaiting(job, about), err
}

// waitingNewcomer is waiting for a job that has just been queued.
func (s *Server) waitingNewcomer(ctx context.Context, tenant, jobType string, made queue.Enqueued) (*Waiting, error) {
	fleet, err := s.fleet.get(ctx, everybody)
	if err != nil {
		return nil, err
	}
	place, err := s.places.get(ctx, placeKey{made.Line, made.Priority, tenant})
	if err != nil {
		return nil, err
	}
	served, err := s.served.get(ctx, task{jobType, made.Line})
	job := queue.Job{ID: made.ID, Type: jobType, State: made.State, Upstream: made.Upstream}
	return whyWaiting(job, circumstances{
		now: fleet.now(), upstream: fleet.find(made.Upstream), ahead: place.next(), shared: place.shared, served: served,
	}), err
}

// task is what a worker has to be able to do.
type task struct{ jobType, line string }

func (s *Server) readServed(ctx context.Context, t task) (bool, error) {
	return s.queue.Served(ctx, t.jobType, t.line)
}

func (s *Server) lastAttempt(ctx context.Context, job queue.Job) (*queue.Attempt, error) {
	if job.Lease == 0 {
		return nil, nil
	}
	attempts, err := s.queue.Attempts(ctx, job.Tenant, job.ID)
	if err != nil || len(attempts) == 0 {
		return nil, err
	}
	return &attempts[len(attempts)-1], nil
}

// whyWaiting names what stands first in a job's way and words it for the person who waits. A delayed job waits for its
// time, a queued one for its upstream, then for a worker, then for its turn. The job must be queued or delayed.
func whyWaiting(job queue.Job, about circumstances) *Waiting {
	if job.State == queue.Delayed {
		return delayed(job, about)
	}
	w := &Waiting{}
	if !about.shared {
		w.Position = new(about.ahead + 1)
	}
	switch up := about.upstream; {
	case up != nil && up.State != string(BreakerStateClosed):
		w.Reason, w.Sentence = closedOff(up, about.now)
		w.hold(up.RetryAt, about.now)
	case !about.served:
		w.Reason = WaitingReasonNoWorker
		w.Sentence = fmt.Sprintf("No running worker can do %s at the moment; the job starts once one can; nothing is lost.", work(job))
	case up != nil && up.Tight != upstream.Loose:
		w.Reason = WaitingReasonRateLimit
		w.atLimit(up, about)
	default:
		w.Reason = WaitingReasonQueue
		w.Sentence = inLine(job, about)
	}
	return w
}

// work names what a worker would have to do: a job waits for the model that it was enqueued with, whatever its type's is now.
func work(job queue.Job) string {
	if job.Upstream == nil {
		return job.Type
	}
	return job.Type + " on " + spoken(*job.Upstream)
}

// atLimit words the wait for a limit that refills. When the job starts follows from the pace at which calls may.
func (w *Waiting) atLimit(up *upstream.Status, about circumstances) {
	ahead := about.ahead
	w.Sentence = fmt.Sprintf("%s %s; %s", spoken(up.Name), limitOf(up), aheadOf(about))
	if up.Pace == 0 || ahead >= queue.MaxPosition {
		w.Sentence += "; nothing is lost."
		return
	}
	wait := up.Wait + time.Duration(min(float64(ahead)/up.Pace, maxEta.Seconds())*float64(time.Second))
	w.hold(new(up.Now.Add(wait)), up.Now)
	w.Sentence += fmt.Sprintf("; starts in about %s.", roughly(wait))
}

// maxEta bounds what is told of the future.
const maxEta = 366 * 24 * time.Hour

func limitOf(up *upstream.Status) string {
	d := up.Requests
	switch up.Tight {
	case upstream.OnRefusals:
		return "refuses calls beyond a limit that it does not tell"
	case upstream.OnTokens:
		d = up.Tokens
	}
	return fmt.Sprintf("is at its limit of %d %s %s", *d.Limit, up.Tight, per(d.Window))
}

// roughly words a length of time as roughly as it is known.
func roughly(d time.Duration) string {
	switch {
	case d < 100*time.Second:
		return fmt.Sprintf("%d s", max(1, d.Round(time.Second)/time.Second))
	case d < 100*time.Minute:
		return fmt.Sprintf("%d min", d.Round(time.Minute)/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d.Round(time.Hour)/time.Hour)
	}
	return fmt.Sprintf("%d days", d.Round(24*time.Hour)/(24*time.Hour))
}

// spoken is an upstream's name as a person reads it: openai/gpt-5.
func spoken(name string) string { return strings.Replace(name, ":", "/", 1) }

func per(window time.Duration) string {
	switch window {
	case time.Minute:
		return "per minute"
	case time.Hour:
		return "per hour"
	case 24 * time.Hour:
		return "per day"
	}
	return "in " + window.Round(time.Second).String()
}

func aheadOf(about circumstances) string {
	switch n := about.ahead; {
	case about.shared:
		return "other jobs are ahead"
	case n == 0:
		return "the job is next"
	case n == 1:
		return "one job is ahead"
	case n >= queue.MaxPosition:
		return fmt.Sprintf("more than %s jobs are ahead", thousands(queue.MaxPosition))
	default:
		return fmt.Sprintf("about %d jobs are ahead", n)
	}
}

// hold sets when the reason is expected to end.
func (w *Waiting) hold(until *time.Time, now time.Time) {
	if until == nil {
		return
	}
	w.Until = utc(until)
	w.EtaSeconds = new(int64(max(0, until.Sub(now)+time.Second-1) / time.Second))
}

func delayed(job queue.Job, about circumstances) *Waiting {
	w := &Waiting{Reason: WaitingReasonScheduled}
	w.hold(job.ScheduledAt, about.now)
	when := at(job.ScheduledAt, about.now)
	w.Sentence = fmt.Sprintf("The job was asked to start %s, not before.", when)
	if about.last == nil || about.last.Outcome == nil {
		return w
	}
	switch *about.last.Outcome {
	case queue.RateLimited:
		w.Reason = WaitingReasonRateLimit
		w.Sentence = fmt.Sprintf("%s is limiting requests; the next try is %s; nothing is lost.", provider(job), when)
	case queue.Held:
		w.Reason = WaitingReasonCredentials
		what := "our credential"
		if about.last.Status != nil && *about.last.Status == http.StatusNotFound {
			w.Reason, what = WaitingReasonConfiguration, "the configured model"
		}
		w.Sentence = fmt.Sprintf("%s refused %s; the next try, to see whether it is this job alone, is %s; nothing is lost.",
			provider(job), what, when)
	case queue.Error:
		w.Reason = WaitingReasonBackoff
		w.Sentence = fmt.Sprintf("The last try did not succeed (%d of %d used); the next one is %s; nothing is lost.",
			job.Attempts, job.MaxAttempts, when)
	}
	return w
}

// closedOff says why an upstream starts no calls.
func closedOff(up *upstream.Status, now time.Time) (WaitingReason, string) {
	next := fmt.Sprintf("the next try is %s; nothing is lost.", at(up.RetryAt, now))
	switch up.Reason {
	case "operator":
		return WaitingReasonPaused, fmt.Sprintf("An operator paused %s; the job starts after it is resumed; nothing is lost.", spoken(up.Name))
	case "account":
		return WaitingReasonAccount, fmt.Sprintf("The account at %s has reached its limit or is out of credit; %s", spoken(up.Name), next)
	case "credentials":
		return WaitingReasonCredentials, fmt.Sprintf("%s refuses our credential, which an operator has to put right; %s", spoken(up.Name), next)
	case "configuration":
		return WaitingReasonConfiguration, fmt.Sprintf("%s does not offer the configured model, which an operator has to put right; %s", spoken(up.Name), next)
	}
	if up.State == string(BreakerStateHalfOpen) {
		return WaitingReasonBreaker, fmt.Sprintf("%s was not answering and is being tried right now; nothing is lost.", spoken(up.Name))
	}
	return WaitingReasonBreaker, fmt.Sprintf("%s is not answering; %s", spoken(up.Name), next)
}

func inLine(job queue.Job, about circumstances) string {
	switch ahead := about.ahead; {
	case about.shared:
		return fmt.Sprintf("Other jobs are ahead in the line for %s.", provider(job))
	case ahead == 0:
		return fmt.Sprintf("The job is next in line for %s.", provider(job))
	case ahead == 1:
		return fmt.Sprintf("One job is ahead in the line for %s.", provider(job))
	case ahead >= queue.MaxPosition:
		return fmt.Sprintf("More than %s jobs are ahead in the line for %s.", thousands(queue.MaxPosition), provider(job))
	default:
		return fmt.Sprintf("%d jobs are ahead in the line for %s.", ahead, provider(job))
	}
}

// provider names who a job waits for: its upstream, or its type where it has none.
func provider(job queue.Job) string { return spoken(job.Line()) }

func thousands(n int) string { return fmt.Sprintf("%d,%03d", n/1000, n%1000) }

// at words a moment: the time of day today, with the date on any other day.
func at(t *time.Time, now time.Time) string {
	if t == nil || !t.After(now) {
		return "due now"
	}
	if u := t.UTC(); u.Format(time.DateOnly) != now.UTC().Format(time.DateOnly) {
		return u.Format("on 2 January 2006 at 15:04:05 UTC")
	}
	return t.UTC().Format("at 15:04:05 UTC")
}
