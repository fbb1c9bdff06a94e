package api

import (
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/upstream"
)

func TestWhyWaiting(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 10, 41, 30, 500e6, time.UTC)
	soon, tomorrow, past := time.Date(2026, 11, 23, 10, 42, 13, 0, time.UTC), now.Add(24*time.Hour), now.Add(-time.Second)
	up := func(state, reason string, retry *time.Time) *upstream.Status {
		return &upstream.Status{Name: upstreamName, State: state, Reason: reason, RetryAt: retry}
	}
	limited := func(limit, remaining int64, window time.Duration) *upstream.Status {
		s := up("closed", "", nil)
		s.Requests = upstream.Dimension{Limit: &limit, Remaining: &remaining, Window: window}
		s.Now, s.Tight, s.Pace = now, upstream.OnRequests, float64(limit)/window.Seconds()
		s.Wait = time.Duration(float64(time.Second) / s.Pace)
		return s
	}
	loose := limited(500, 400, time.Minute)
	loose.Tight = upstream.Loose
	tokens := limited(500, 400, time.Minute)
	tokens.Tokens, tokens.Tight, tokens.Pace = upstream.Dimension{Limit: new(int64(30000)), Remaining: new(int64(100)), Window: time.Minute}, upstream.OnTokens, 0.1
	untold := up("closed", "", nil)
	untold.Now, untold.Tight, untold.Pace, untold.Wait = now, upstream.OnRefusals, 2, time.Second
	unknown := limited(500, 20, time.Minute)
	unknown.Pace = 0
	after := func(o queue.Outcome) *queue.Attempt { return &queue.Attempt{Outcome: &o} }
	refused := func(status int) *queue.Attempt { return &queue.Attempt{Outcome: new(queue.Held), Status: &status} }
	for _, c := range []struct {
		name     string
		at       *time.Time // scheduled_at of a delayed job; nil: the job is queued
		about    circumstances
		reason   WaitingReason
		sentence string
		eta      int64 // -1: null
	}{
		{"scheduled", &soon, circumstances{}, WaitingReasonScheduled, "The job was asked to start at 10:42:13 UTC, not before.", 43},
		{"scheduled tomorrow", &tomorrow, circumstances{}, WaitingReasonScheduled, "The job was asked to start on 24 November 2026 at 10:41:30 UTC, not before.", 86400},
		{"after a refused credential", &soon, circumstances{last: refused(401)}, WaitingReasonCredentials, "openai/gpt-5 refused our credential; the next try, to see whether it is this job alone, is at 10:42:13 UTC; nothing is lost.", 43},
		{"after a refused model", &soon, circumstances{last: refused(404)}, WaitingReasonConfiguration, "openai/gpt-5 refused the configured model; the next try, to see whether it is this job alone, is at 10:42:13 UTC; nothing is lost.", 43},
		{"at the limit of requests", nil, circumstances{upstream: limited(500, 20, time.Minute), ahead: 40, served: true}, WaitingReasonRateLimit, "openai/gpt-5 is at its limit of 500 requests per minute; about 40 jobs are ahead; starts in about 5 s.", 5},
		{"at a limit, next", nil, circumstances{upstream: limited(10, 0, 24*time.Hour), served: true}, WaitingReasonRateLimit, "openai/gpt-5 is at its limit of 10 requests per day; the job is next; starts in about 2 h.", 8640},
		{"at a limit of tokens", nil, circumstances{upstream: tokens, ahead: 60, served: true}, WaitingReasonRateLimit, "openai/gpt-5 is at its limit of 30000 tokens per minute; about 60 jobs are ahead; starts in about 10 min.", 601},
		{"at a limit, far back", nil, circumstances{upstream: limited(500, 20, time.Minute), ahead: queue.MaxPosition, served: true}, WaitingReasonRateLimit, "openai/gpt-5 is at its limit of 500 requests per minute; more than 1,000 jobs are ahead; nothing is lost.", -1},
		{"at a limit, of calls whose size is not known", nil, circumstances{upstream: unknown, ahead: 1, served: true}, WaitingReasonRateLimit, "openai/gpt-5 is at its limit of 500 requests per minute; one job is ahead; nothing is lost.", -1},
		{"at a limit that nobody tells", nil, circumstances{upstream: untold, ahead: 4, served: true}, WaitingReasonRateLimit, "openai/gpt-5 refuses calls beyond a limit that it does not tell; about 4 jobs are ahead; starts in about 3 s.", 3},
		{"far from the limit", nil, circumstances{upstream: loose, ahead: 1, served: true}, WaitingReasonQueue, "One job is ahead in the line for openai/gpt-5.", -1},
		{"after a limit", &soon, circumstances{last: after(queue.RateLimited)}, WaitingReasonRateLimit, "openai/gpt-5 is limiting requests; the next try is at 10:42:13 UTC; nothing is lost.", 43},
		{"after an error", &soon, circumstances{last: after(queue.Error)}, WaitingReasonBackoff, "The last try did not succeed (2 of 5 used); the next one is at 10:42:13 UTC; nothing is lost.", 43},
		{"about to be promoted", &past, circumstances{last: after(queue.Error)}, WaitingReasonBackoff, "The last try did not succeed (2 of 5 used); the next one is due now; nothing is lost.", 0},
		{"after anything else", &soon, circumstances{last: after(queue.Lost)}, WaitingReasonScheduled, "The job was asked to start at 10:42:13 UTC, not before.", 43},
		{"delayed behind an open breaker", &soon, circumstances{last: after(queue.Error), upstream: up("open", "failures", &tomorrow)}, WaitingReasonBackoff, "The last try did not succeed (2 of 5 used); the next one is at 10:42:13 UTC; nothing is lost.", 43},

		{"open", nil, circumstances{served: true, upstream: up("open", "failures", &soon)}, WaitingReasonBreaker, "openai/gpt-5 is not answering; the next try is at 10:42:13 UTC; nothing is lost.", 43},
		{"open, probe due", nil, circumstances{served: true, upstream: up("open", "failures", &past)}, WaitingReasonBreaker, "openai/gpt-5 is not answering; the next try is due now; nothing is lost.", 0},
		{"half-open", nil, circumstances{served: true, upstream: up("half-open", "failures", nil)}, WaitingReasonBreaker, "openai/gpt-5 was not answering and is being tried right now; nothing is lost.", -1},
		{"account", nil, circumstances{served: true, upstream: up("open", "account", &soon)}, WaitingReasonAccount, "The account at openai/gpt-5 has reached its limit or is out of credit; the next try is at 10:42:13 UTC; nothing is lost.", 43},
		{"credentials", nil, circumstances{served: true, upstream: up("open", "credentials", &soon)}, WaitingReasonCredentials, "openai/gpt-5 refuses our credential, which an operator has to put right; the next try is at 10:42:13 UTC; nothing is lost.", 43},
		{"configuration", nil, circumstances{served: true, upstream: up("open", "configuration", &soon)}, WaitingReasonConfiguration, "openai/gpt-5 does not offer the configured model, which an operator has to put right; the next try is at 10:42:13 UTC; nothing is lost.", 43},
		{"paused", nil, circumstances{upstream: up("open", "operator", nil)}, WaitingReasonPaused, "An operator paused openai/gpt-5; the job starts after it is resumed; nothing is lost.", -1},
		{"no worker", nil, circumstances{upstream: up("closed", "", nil)}, WaitingReasonNoWorker, "No running worker can do diary.entry on openai/gpt-5 at the moment; the job starts once one can; nothing is lost.", -1},
		{"nothing known", nil, circumstances{served: true}, WaitingReasonQueue, "The job is next in line for openai/gpt-5.", -1},
		{"next", nil, circumstances{served: true, upstream: up("closed", "", nil)}, WaitingReasonQueue, "The job is next in line for openai/gpt-5.", -1},
		{"second", nil, circumstances{served: true, ahead: 1}, WaitingReasonQueue, "One job is ahead in the line for openai/gpt-5.", -1},
		{"13th", nil, circumstances{served: true, ahead: 12}, WaitingReasonQueue, "12 jobs are ahead in the line for openai/gpt-5.", -1},
		{"behind other tenants", nil, circumstances{served: true, ahead: 12, shared: true}, WaitingReasonQueue, "Other jobs are ahead in the line for openai/gpt-5.", -1},
		{"at a limit, behind other tenants", nil, circumstances{upstream: limited(500, 20, time.Minute), ahead: 40, shared: true, served: true}, WaitingReasonRateLimit, "openai/gpt-5 is at its limit of 500 requests per minute; other jobs are ahead; starts in about 5 s.", 5},
		{"far back", nil, circumstances{served: true, ahead: queue.MaxPosition}, WaitingReasonQueue, "More than 1,000 jobs are ahead in the line for openai/gpt-5.", -1},
	} {
		job := queue.Job{Type: "diary.entry", State: queue.Queued, Upstream: new(upstreamName), Attempts: 2, MaxAttempts: 5}
		if c.at != nil {
			job.State, job.ScheduledAt = queue.Delayed, c.at
		}
		c.about.now = now
		w := whyWaiting(job, c.about)
		if w.Reason != c.reason || w.Sentence != c.sentence {
			t.Errorf("%s:\ngot  %s %q\nwant %s %q", c.name, w.Reason, w.Sentence, c.reason, c.sentence)
		}
		if (w.EtaSeconds == nil) != (c.eta < 0) || w.EtaSeconds != nil && *w.EtaSeconds != c.eta || (w.Until == nil) != (w.EtaSeconds == nil) {
			t.Errorf("%s: eta %v until %v, want %d", c.name, w.EtaSeconds, w.Until, c.eta)
		}
		if (w.Position == nil) != (c.at != nil || c.about.shared) || w.Position != nil && *w.Position != c.about.ahead+1 {
			t.Errorf("%s: position %v", c.name, w.Position)
		}
	}
}

func TestWaitingOfAnUnpacedJobNamesItsType(t *testing.T) {
	t.Parallel()
	w := whyWaiting(queue.Job{Type: "mail.send", State: queue.Queued}, circumstances{served: true, ahead: 3})
	if w.Sentence != "3 jobs are ahead in the line for mail.send." {
		t.Error(w.Sentence)
	}
}
