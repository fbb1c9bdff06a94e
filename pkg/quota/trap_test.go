package quota_test

import (
	"math"
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/quota"
)

const tau = 500 * time.Millisecond

// said is an observation of one dimension by a 60 s bucket.
func said(d quota.Dimension, limit, remaining float64, age time.Duration) quota.Observation {
	o := quota.Observation{Age: age}
	o.Readings[d] = quota.Reading{Limit: limit, Remaining: remaining,
		Reset: time.Duration((limit - remaining) / limit * 60 * float64(time.Second))}
	return o
}

// after is a moment of a test.
func after(d time.Duration) time.Time { return start.Add(d) }

// knows is a quota that was just told of one dimension.
func knows(d quota.Dimension, limit, remaining float64) quota.Quota {
	return quota.Quota{}.Observe(said(d, limit, remaining, 0), start)
}

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if math.IsNaN(got) || math.Abs(got-want) > within {
		t.Errorf("%s: got %v, want %v within %v", what, got, want, within)
	}
}

// (a) An estimate of others' use that reaches the refill would stop all sending, and so all evidence that it is wrong.
func TestTrapDrainDeadlock(t *testing.T) {
	t.Parallel()
	q := knows(quota.Requests, 600, 500)
	now := start
	for i := range 40 { // others seem to take everything, ever faster
		now = now.Add(500 * time.Millisecond)
		q = q.Observe(said(quota.Requests, 600, max(0, 500-float64(i)*30), 0), now)
	}
	drain, rate := q.Limits[quota.Requests].Drain, q.Limits[quota.Requests].Rate()
	if drain < 0.5*rate || drain > 0.9*rate {
		t.Fatalf("drain is %.2f of a refill of %.2f, want it high but at most nine tenths", drain, rate)
	}
	_, g := q.Take(quota.Ask{Requests: 1, Workers: 4, Tau: tau}, now)
	if g.Requests != 0 || g.Wait > time.Minute {
		t.Fatalf("granted %d, wait %s: want nothing, and a wait of less than a minute", g.Requests, g.Wait)
	}
	_, g = q.Take(quota.Ask{Requests: 1, Workers: 4, Tau: tau}, now.Add(g.Wait))
	if g.Requests != 1 {
		t.Fatal("nothing was granted after the wait")
	}
	later := q.Advance(now.Add(30 * time.Second))
	near(t, "level after 30 s: the estimate has faded", later.Limits[quota.Requests].Level, 300-0.9*10*7, 40)
}

// (b) Capping only where a level is anchored lets it drift above the limit in between.
func TestTrapCapAtEveryStep(t *testing.T) {
	t.Parallel()
	q := knows(quota.Requests, 60, 60)
	q = q.Advance(after(10 * time.Minute))
	if level := q.Limits[quota.Requests].Level; level != 60 {
		t.Fatalf("level is %v after ten idle minutes, want the limit, 60", level)
	}
	// In a replay too: the bucket was full at 2 s, so the grants at 3 s leave less than the limit.
	q = knows(quota.Requests, 60, 58)
	q, g := q.Take(quota.Ask{Requests: 1, Workers: 1, Tau: tau}, after(3*time.Second))
	if g.Requests != 1 {
		t.Fatal("nothing was granted")
	}
	q = q.Observe(said(quota.Requests, 60, 59, 2900*time.Millisecond), after(3100*time.Millisecond))
	near(t, "level after a replay across the cap", q.Limits[quota.Requests].Level, 59.1, 0.2)
}

// (c) Observations count by admission: a late one must restore neither an old level nor an old limit or window.
func TestTrapOutOfOrder(t *testing.T) {
	t.Parallel()
	now := after(10 * time.Second)
	q := quota.Quota{}.Observe(said(quota.Tokens, 2000, 100, time.Second), now)
	late := said(quota.Tokens, 1000, 900, 5*time.Second)
	late.Readings[quota.Tokens].Reset = 24 * time.Hour
	if got := q.Observe(late, now); got.Limits != q.Limits {
		t.Errorf("a late observation changed %+v to %+v", q.Limits[quota.Tokens], got.Limits[quota.Tokens])
	}
}

// (d) Without a pace a full bucket is emptied at once.
func TestTrapFirstBurst(t *testing.T) {
	t.Parallel()
	q := knows(quota.Requests, 600, 600)
	granted := 0
	for i := range 20 { // ten workers, one second
		var g quota.Grant
		q, g = q.Take(quota.Ask{Requests: 64, Workers: 10, Tau: tau}, after(time.Duration(i)*50*time.Millisecond))
		granted += g.Requests
	}
	// 20 a second: those of one second, and what the last ones spend in the tau that follows.
	if granted < 20 || granted > 31 {
		t.Errorf("%d of 600 were granted in the first second at a refill of 10 a second, want 20 to 31", granted)
	}
}

// (e) Nothing to be had comes with the time until there is, so that nobody polls.
func TestTrapPolling(t *testing.T) {
	t.Parallel()
	q := knows(quota.Tokens, 30000, 2000)
	ask := quota.Ask{Requests: 5, TokensEach: 4000, Workers: 16, Tau: tau}
	q, g := q.Take(ask, start)
	// 4,000 and a margin of 80 %, at 500 a second, from 2,000.
	near(t, "wait in seconds", g.Wait.Seconds(), (4000*1.8-2000)/500, 0.2)
	if _, early := q.Take(ask, start.Add(g.Wait-100*time.Millisecond)); early.Requests != 0 {
		t.Error("it was granted earlier than the hint said")
	}
	if _, then := q.Take(ask, start.Add(g.Wait)); then.Requests == 0 {
		t.Error("nothing was granted when the hint was over")
	}
}

// (f), (g) A wait of hours is said as what it is, so that the job can be put on a schedule and its lease given up; and a
// refusal of one call stops nobody else.
func TestTrapLongWaits(t *testing.T) {
	t.Parallel()
	q := quota.Quota{}.Refused(quota.Refusal{Said: quota.Said{Dimension: quota.Requests, Limit: 200, Used: 200, Requested: 1,
		Wait: 432 * time.Second}}, start)
	near(t, "window in hours", q.Limits[quota.Requests].Window.Hours(), 24, 0.5)
	_, g := q.Take(quota.Ask{Requests: 1, Workers: 1, Tau: tau}, start)
	if g.Requests != 0 || g.Wait < 5*time.Minute {
		t.Errorf("granted %d, wait %s: want nothing for minutes", g.Requests, g.Wait)
	}
	q = knows(quota.Tokens, 30000, 20000)
	q = q.Refused(quota.Refusal{Age: -1, Said: quota.Said{Dimension: quota.Tokens, Limit: 30000, Used: 20000, Requested: 16000,
		Wait: 12 * time.Second}}, after(time.Second))
	if _, g := q.Take(quota.Ask{Requests: 1, TokensEach: 1000, Workers: 1, Tau: tau}, after(time.Second)); g.Requests != 1 {
		t.Error("a large call was refused, and a small one had to wait")
	}
}

// (h) A refused call's tokens come back once: what the provider says it has left has not been charged with them.
func TestTrapDoubleRefund(t *testing.T) {
	t.Parallel()
	q := knows(quota.Tokens, 30000, 20000)
	q, g := q.Take(quota.Ask{Requests: 1, TokensEach: 8000, Workers: 1, Tau: tau}, after(time.Second))
	refusal := quota.Refusal{Granted: g.At, Tokens: 8000, Age: 100 * time.Millisecond,
		Said: quota.Said{Dimension: quota.Tokens, Limit: 30000, Used: 23000, Requested: 8000, Wait: 2 * time.Second}}
	q = q.Refused(refusal, after(2*time.Second))
	near(t, "level after the refusal", q.Limits[quota.Tokens].Level, 7000+500*0.1, 60)
	if r := q.Ring; r.Requests == (quota.Ring{}).Requests || r.Tokens != (quota.Ring{}).Tokens {
		t.Errorf("in the ring the request should stay and the tokens be gone: %v %v", r.Requests, r.Tokens)
	}
	q = q.Refused(refusal, after(2*time.Second))
	near(t, "level when it is reported twice", q.Limits[quota.Tokens].Level, 7000+500*0.1, 60)

	// The body names another dimension: the tokens come back at once, as no observation of them will say so.
	q = knows(quota.Tokens, 30000, 20000)
	q, g = q.Take(quota.Ask{Requests: 1, TokensEach: 8000, Workers: 1, Tau: tau}, after(time.Second))
	q = q.Refused(quota.Refusal{Granted: g.At, Tokens: 8000, Said: quota.Said{Dimension: quota.Requests, Limit: 3, Used: 3, Requested: 1,
		Wait: 20 * time.Second}}, after(2*time.Second))
	near(t, "level of tokens when requests tripped", q.Limits[quota.Tokens].Level, 21000, 60)

	// An observation that was admitted after the call already excludes it: nothing comes back.
	q = knows(quota.Tokens, 30000, 20000)
	q, g = q.Take(quota.Ask{Requests: 1, TokensEach: 8000, Workers: 1, Tau: tau}, after(time.Second))
	q = q.Observe(said(quota.Tokens, 30000, 20500, 0), after(2*time.Second))
	q = q.Refused(quota.Refusal{Granted: g.At, Tokens: 8000, Age: 900 * time.Millisecond, RetryAfter: time.Second}, after(2*time.Second))
	near(t, "level when it was observed since", q.Limits[quota.Tokens].Level, 20500, 60)
}
