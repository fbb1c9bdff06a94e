package quota_test

import (
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/quota"
)

// busy is a quota of both limits under a fleet that has just spent them on calls of 1,000 tokens.
func busy(requests, tokens float64) quota.Quota {
	o := said(quota.Requests, requests, requests, 0)
	o.Readings[quota.Tokens] = said(quota.Tokens, tokens, tokens, 0).Readings[quota.Tokens]
	q := quota.Quota{}.Observe(o, start)
	now := start
	for range 400 {
		var g quota.Grant
		q, g = q.Take(quota.Ask{Requests: 50, TokensEach: 1000, Workers: 1, Tau: tau}, now)
		now = now.Add(max(tau, g.Wait))
	}
	return q
}

// What the next calls have to expect: which limit holds them up, from when, and how fast they go.
func TestOutlook(t *testing.T) {
	t.Parallel()
	if o := (quota.Quota{}).Outlook(); o != (quota.Outlook{}) {
		t.Errorf("of a provider that was not heard from: %+v", o)
	}
	if o := knows(quota.Requests, 600, 600).Outlook(); o.Held || o.Wait != 0 || o.Pace != 10 {
		t.Errorf("of a full bucket: %+v", o)
	}
	if o := knows(quota.Tokens, 600, 600).Outlook(); o.Held || o.Pace != 0 {
		t.Errorf("of tokens, while no call's size is known: %+v", o)
	}
	if o := knows(quota.Tokens, 600, 10).Outlook(); !o.Held || o.Tight != quota.Tokens || o.Wait == 0 || o.Pace != 0 {
		t.Errorf("of spent tokens, while no call's size is known: %+v", o)
	}
	for _, small := range []quota.Quota{knows(quota.Requests, 1, 1), knows(quota.Requests, 2, 2)} {
		if o := small.Advance(after(time.Hour)).Outlook(); o.Held || o.Wait != 0 {
			t.Errorf("of a full bucket of a few calls: %+v", o)
		}
	}
	o := busy(600, 1e6).Outlook()
	if !o.Held || o.Tight != quota.Requests || o.Wait > time.Second {
		t.Errorf("at the limit of requests: %+v", o)
	}
	near(t, "calls a second", o.Pace, 10, 0.01)
	o = busy(600, 300e3).Outlook()
	if !o.Held || o.Tight != quota.Tokens || o.Wait > time.Second {
		t.Errorf("at the limit of tokens: %+v", o)
	}
	near(t, "calls of 1,000 tokens a second", o.Pace, 5, 0.01)

	large := quota.Quota{}.Observe(said(quota.Tokens, 30_000, 30_000, 0), start)
	large, _ = large.Take(quota.Ask{Requests: 1, TokensEach: 20_000, Workers: 1, Tau: tau}, start)
	if o := large.Advance(after(20 * time.Second)).Outlook(); !o.Held || o.Tight != quota.Tokens || o.Wait < 10*time.Second {
		t.Errorf("of large calls, 20 s after the latest: %+v", o)
	}

	spent := quota.Quota{}.Refused(quota.Refusal{Said: quota.Said{Dimension: quota.Requests, Limit: 200, Used: 200, Requested: 1,
		Wait: 432 * time.Second}}, start).Outlook()
	if !spent.Held || spent.Wait < 432*time.Second {
		t.Errorf("of a day's calls, all made: %+v", spent)
	}
	if o := (quota.Quota{}).Refused(quota.Refusal{RetryAfter: 7 * time.Second}, start).Outlook(); o.Held || !o.Untold || o.Wait != 7*time.Second || o.Pace < 0.02 {
		t.Errorf("after a refusal that told nothing: %+v", o)
	}
	if o := knows(quota.Requests, 600, 600).Unread(20, start).Outlook(); o.Untold {
		t.Errorf("of a provider that ceased to tell, and refused nothing: %+v", o)
	}
	if o := (quota.Quota{}).Refused(quota.Refusal{}, start).Advance(after(time.Hour)).Outlook(); o.Untold {
		t.Errorf("an hour after a refusal: %+v", o)
	}
}
