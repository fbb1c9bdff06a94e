package quota_test

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/quota"
)

func TestWindowIsLearned(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name             string
		limit, remaining float64
		reset, want      time.Duration
	}{
		{"a minute", 150000, 149984, 6 * time.Millisecond, time.Minute},
		{"a minute, one call used", 500, 499, 120 * time.Millisecond, time.Minute},
		{"full", 500, 500, 0, time.Minute},
		{"full, with a reset", 500, 500, time.Millisecond, time.Minute},
		{"rounded to seconds", 60, 59, time.Second, time.Minute},
		{"a second", 50, 10, 800 * time.Millisecond, time.Second},
		{"a day", 200, 100, 12 * time.Hour, 24 * time.Hour},
		{"a day, one call used", 200, 199, 7*time.Minute + 12*time.Second, 24 * time.Hour},
		{"30 days", 1000, 500, 15 * 24 * time.Hour, 30 * 24 * time.Hour},
	} {
		o := quota.Observation{}
		o.Readings[quota.Requests] = quota.Reading{Limit: c.limit, Remaining: c.remaining, Reset: c.reset}
		q := quota.Quota{}.Observe(o, start)
		near(t, c.name, q.Limits[quota.Requests].Window.Seconds(), c.want.Seconds(), 0.001*c.want.Seconds())
	}
}

func TestLastGoodWindowIsKept(t *testing.T) {
	t.Parallel()
	o := quota.Observation{}
	o.Readings[quota.Requests] = quota.Reading{Limit: 200, Remaining: 100, Reset: 12 * time.Hour}
	q := quota.Quota{}.Observe(o, start)
	o.Readings[quota.Requests] = quota.Reading{Limit: 200, Remaining: 200, Reset: 0}
	q = q.Observe(o, after(time.Second))
	near(t, "window in hours", q.Limits[quota.Requests].Window.Hours(), 24, 0.01)
}

// The five messages were printed by the real provider; the wait follows from the other numbers, so it tells the window.
func TestWindowOfABody(t *testing.T) {
	t.Parallel()
	q := quota.Quota{}.Refused(quota.Refusal{Said: quota.Said{Dimension: quota.Tokens, Limit: 30000, Used: 28000, Requested: 6908,
		Wait: 9816 * time.Millisecond}}, start)
	l := q.Limits[quota.Tokens]
	if l.Limit != 30000 || l.Window != time.Minute || l.Level != 2000 || q.Source != quota.Body {
		t.Errorf("got %+v from %s", l, q.Source)
	}
}

func TestOneObservationFollowsALimit(t *testing.T) {
	t.Parallel()
	for _, limit := range []float64{5, 250, 1000, 5000} {
		q := knows(quota.Requests, 500, 250).Observe(said(quota.Requests, limit, limit/2, 0), after(time.Second))
		l := q.Limits[quota.Requests]
		near(t, "limit", l.Limit, limit, 0)
		near(t, "level", l.Level, limit/2, 1)
	}
}

// Grants that were booked after an observed call was admitted are subtracted, also those that are still to be spent;
// those before it are in what the provider said.
func TestReplay(t *testing.T) {
	t.Parallel()
	q := knows(quota.Requests, 6000, 5000)
	ask := quota.Ask{Requests: 40, Workers: 1, Tau: 2 * time.Second}
	q, first := q.Take(ask, after(time.Second))
	q, second := q.Take(ask, after(4*time.Second))
	if first.Requests != 40 || second.Requests != 40 {
		t.Fatalf("granted %d and %d, want 40 twice", first.Requests, second.Requests)
	}
	// Admitted at 3.3 s, after the first chunk was spent; now, at 4 s, only one call of the second one has been.
	q = q.Observe(said(quota.Requests, 6000, 5290, 700*time.Millisecond), after(4*time.Second))
	near(t, "level", q.Limits[quota.Requests].Level, 5290+100*0.7-40, 1)
	// Admitted at 5 s, halfway through the second chunk.
	q = q.Observe(said(quota.Requests, 6000, 5440, 0), after(5*time.Second))
	near(t, "level", q.Limits[quota.Requests].Level, 5440-20, 5)
}

func TestOlderThanTheRing(t *testing.T) {
	t.Parallel()
	q := knows(quota.Requests, 600, 300).Advance(after(time.Minute))
	got := q.Observe(said(quota.Requests, 900, 900, 20*time.Second), after(time.Minute))
	if got.Limits != q.Limits || got.Bare != 1 {
		t.Errorf("an observation older than the ring changed the limits, or was not counted: %+v", got)
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	q := knows(quota.Requests, 600, 300)
	if got := q.Advance(after(-3 * time.Second)); got.Limits[quota.Requests].Level != 300 {
		t.Errorf("level is %v after a small step back, want 300", got.Limits[quota.Requests].Level)
	}
	back := after(-time.Hour)
	q = q.Observe(said(quota.Requests, 600, 100, 0), back)
	near(t, "level as observed before the row was written", q.Limits[quota.Requests].Level, 100, 0)
	_, g := q.Take(quota.Ask{Requests: 1, Workers: 1, Tau: tau}, back)
	if g.Requests != 1 {
		t.Errorf("nothing is granted after the clock was set back: %+v", g)
	}
}

func TestTightestDimension(t *testing.T) {
	t.Parallel()
	o := said(quota.Tokens, 100000, 90000, 0)
	o.Readings[quota.ProjectTokens] = quota.Reading{Limit: 10000, Remaining: 3000, Reset: 42 * time.Second}
	q := quota.Quota{}.Observe(o, start)
	if _, g := q.Take(quota.Ask{Requests: 1, TokensEach: 4000, Workers: 1, Tau: tau}, start); g.Requests != 0 {
		t.Error("4,000 tokens were granted with 3,000 left of the project's")
	}
	if _, ok := q.Fits(20000, start); !ok {
		t.Error("a job was failed by a limit that was not seen to take what is booked")
	}
	q.Limits[quota.ProjectTokens].Price = quota.Price{Charged: 5000, Booked: 5000}
	if m, ok := q.Fits(20000, start); ok || m.Dimension != quota.ProjectTokens || !strings.Contains(m.Error(), "10000") {
		t.Errorf("20,000 tokens fit a limit of 10,000, or: %v", m)
	}
	if _, ok := q.Fits(20000, after(time.Minute)); !ok {
		t.Error("a limit that was not heard of for a minute failed a job")
	}
	if _, ok := q.Fits(10000, start); !ok {
		t.Error("10,000 tokens don't fit a limit of 10,000")
	}
}

func TestTooLargeIsTheCallsFault(t *testing.T) {
	t.Parallel()
	q := knows(quota.Tokens, 30000, 20000)
	got := q.Refused(quota.Refusal{Said: quota.Said{Dimension: quota.Tokens, Limit: 30000, Requested: 31538}}, start)
	if got.Limits != q.Limits || got.Needed(start) != q.Needed(start) || got.Source != q.Source {
		t.Errorf("a call that can never fit changed the quota: %+v", got)
	}
}

func TestLargeCallsDoNotStarve(t *testing.T) {
	t.Parallel()
	for _, cost := range []float64{16000, 29000, 30000, 40000} {
		q := knows(quota.Tokens, 30000, 5000)
		small := quota.Ask{Requests: 1, TokensEach: 500, Workers: 2, Tau: tau}
		large := quota.Ask{Requests: 1, TokensEach: cost, Workers: 2, Tau: tau}
		var served time.Duration
		var wake time.Time
		granted := 0
		for i := range 1200 { // ten minutes, a small ask every half second
			now := after(time.Duration(i) * tau)
			var g quota.Grant
			if served == 0 && !now.Before(wake) {
				if q, g = q.Take(large, now); g.Requests > 0 {
					served = now.Sub(start)
				}
				wake = now.Add(g.Wait)
			}
			q, g = q.Take(small, now)
			granted += g.Requests
		}
		if served == 0 || served > 2*time.Minute {
			t.Errorf("a call of %.0f of 30,000 tokens was served after %s", cost, served)
		}
		if granted < 400 {
			t.Errorf("only %d small calls were served beside one of %.0f", granted, cost)
		}
	}
}

func TestNeeded(t *testing.T) {
	t.Parallel()
	if (quota.Quota{}).Needed(start) {
		t.Error("permits are needed although nothing limits")
	}
	for name, q := range map[string]quota.Quota{
		"a limit":     knows(quota.Tokens, 10, 10),
		"a ramp":      quota.Quota{}.Closed(start),
		"slow_down":   quota.Quota{}.SlowDown(0, start),
		"retry-after": quota.Quota{}.Refused(quota.Refusal{RetryAfter: time.Second}, start),
	} {
		if !q.Needed(start) {
			t.Errorf("no permits are needed in spite of %s", name)
		}
	}
	if q := (quota.Quota{}).Closed(start); q.Needed(after(8 * time.Second)) {
		t.Error("permits are needed after the ramp")
	}
}

// starts counts what four workers are granted in a second from a moment on.
func starts(q quota.Quota, from time.Time) (quota.Quota, int) {
	granted := 0
	for i := range 20 {
		var g quota.Grant
		q, g = q.Take(quota.Ask{Requests: 100, TokensEach: 10, Workers: 4, Tau: 200 * time.Millisecond}, from.Add(time.Duration(i)*50*time.Millisecond))
		granted += g.Requests
	}
	return q, granted
}

func TestRamp(t *testing.T) {
	t.Parallel()
	q := quota.Quota{}.Opened(40, start).Closed(after(20 * time.Second))
	for second, want := range []float64{6.25, 10.75, 15.25, 19.75, 24.25, 28.75, 33.25, 37.75} {
		var granted int
		q, granted = starts(q, after(time.Duration(20+second)*time.Second))
		near(t, "starts in a second of the ramp", float64(granted), want, 0.35*want+1)
	}
	if q.Needed(after(28 * time.Second)) {
		t.Error("the ramp goes on after 8 s")
	}
	// The refill is less than the pace before the trip, and 10 a second is the least.
	q = knows(quota.Requests, 60, 60).Opened(40, start).Closed(start)
	if q.Ramp.Full != 10 {
		t.Errorf("full pace is %v, want 10", q.Ramp.Full)
	}
}

func TestSlowDown(t *testing.T) {
	t.Parallel()
	pace := func(tpm float64, at time.Duration) float64 {
		q := knows(quota.Tokens, tpm, tpm)
		for i := range 5 {
			q, _ = starts(q, after(time.Duration(i)*time.Second))
		}
		q = q.SlowDown(0, after(5*time.Second))
		if again := q.SlowDown(time.Second, after(6*time.Second)); again.Slow != q.Slow {
			t.Error("a call that was refused before the pace was halved halved it again")
		}
		q = q.Advance(after(5*time.Second + at))
		q.StartsAt, q.TokensAt = time.Time{}, time.Time{}
		_, granted := starts(q, after(5*time.Second+at))
		return float64(granted)
	}
	_, before := starts(knows(quota.Tokens, 1e6, 1e6), start)
	half := pace(1e6, 0)
	near(t, "halved", half/float64(before), 0.5, 0.15)
	near(t, "after 15 min at 1M a minute", pace(1e6, 15*time.Minute)/half, 1.5, 0.1)
	near(t, "after 1 min below", pace(0.99e6, time.Minute)/pace(0.99e6, 0), 1.5, 0.1)
	near(t, "never stuck", pace(1e6, 5*time.Hour)/float64(before), 1, 0.1)
}

func TestBlind(t *testing.T) {
	t.Parallel()
	q := knows(quota.Requests, 600, 600)
	for i := range 30 {
		if i == 19 && q.Source != quota.Headers {
			t.Fatal("headers were given up before twenty answers had none")
		}
		q = q.Unread(1, after(time.Second))
	}
	if q.Source != quota.Blind {
		t.Fatalf("source is %q after thirty answers without a reading", q.Source)
	}
	q = q.Observe(said(quota.Requests, 600, 600, 0), after(2*time.Second))
	if q.Source != quota.Headers || q.Bare != 0 {
		t.Errorf("source is %q after a reading", q.Source)
	}
	// Azure's -1 and 0 are no readings.
	o := quota.Observation{}
	o.Readings[quota.Requests] = quota.Reading{Limit: -1, Remaining: -1}
	o.Readings[quota.Tokens] = quota.Reading{Limit: 0, Remaining: 0}
	if q := (quota.Quota{}).Observe(o, start); q.Needed(start) || q.Bare != 1 {
		t.Errorf("-1 and 0 were taken for limits: %+v", q.Limits)
	}
	// Nor are numbers that no limit is: kept, some of them could not even be written.
	none := math.NaN()
	for _, r := range []quota.Reading{{Limit: math.Inf(1), Remaining: 5}, {Limit: 5, Remaining: math.Inf(1)}, {Limit: none, Remaining: 5},
		{Limit: 5, Remaining: none}, {Limit: 1e13, Remaining: 5}, {Limit: 0.5}} {
		o := quota.Observation{}
		o.Readings[quota.Tokens] = r
		if q := (quota.Quota{}).Observe(o, start); q.Needed(start) || q.Bare != 1 {
			t.Errorf("%+v was taken for a limit: %+v", r, q.Limits)
		}
	}
}

// A refusal that tells nothing lowers the pace to 80 % of what was sustained, which it reaches again along a cubic.
func TestCubic(t *testing.T) {
	t.Parallel()
	q := quota.Quota{}.Refused(quota.Refusal{}, start)
	if q.Source != quota.Blind || q.Cubic.Rate != 10 {
		t.Fatalf("got %+v", q.Cubic)
	}
	if got := q.Refused(quota.Refusal{Age: time.Second}, after(100*time.Millisecond)); got.Cubic != q.Cubic {
		t.Error("one burst of refusals was taken for two events")
	}
	var granted int
	q, granted = starts(q, start)
	near(t, "starts in the first second", float64(granted), 8, 3)
	q = q.Refused(quota.Refusal{}, after(time.Second))
	near(t, "the rate when it is refused again at once", q.Cubic.Rate, 8, 0.01)
	for i := range 8 {
		q, _ = starts(q, after(time.Duration(i+1)*time.Second))
	}
	sold := q.Cubic.Starts
	q = q.Refused(quota.Refusal{}, after(9*time.Second))
	near(t, "the rate that was sustained between two refusals", q.Cubic.Rate, sold/8, 0.01)
	q = q.Refused(quota.Refusal{RetryAfter: 200 * time.Second}, after(10*time.Second))
	if _, g := q.Take(quota.Ask{Requests: 1, Workers: 1, Tau: tau}, after(10*time.Second)); g.Requests != 0 || g.Wait > 61*time.Second {
		t.Errorf("Retry-After of 200 s: %+v, want a pause of a minute", g)
	}
}

func TestDimensionThatHeadersNoLongerName(t *testing.T) {
	t.Parallel()
	o := said(quota.Tokens, 1000, 1000, 0)
	o.Readings[quota.ProjectTokens] = quota.Reading{Limit: 10, Remaining: 0, Reset: time.Minute}
	q := quota.Quota{}.Observe(o, start)
	for i := range 12 {
		q = q.Observe(said(quota.Tokens, 1000, 1000, 0), after(time.Duration(i)*time.Minute))
	}
	if q.Limits[quota.ProjectTokens].Known() || !q.Limits[quota.Tokens].Known() {
		t.Errorf("after eleven minutes the limits are %+v", q.Limits)
	}
}

// Whatever became of the limit since: a bucket that nobody heard from for ten minutes lets one call go, and no more.
func TestProbe(t *testing.T) {
	t.Parallel()
	o := quota.Observation{}
	o.Readings[quota.Requests] = quota.Reading{Limit: 1000, Remaining: 0, Reset: 30 * 24 * time.Hour}
	q := quota.Quota{}.Observe(o, start)
	ask := quota.Ask{Requests: 50, TokensEach: 10, Workers: 3, Tau: tau}
	q, g := q.Take(ask, start)
	if g.Requests != 0 || g.Wait != 10*time.Minute {
		t.Fatalf("got %+v, want a wait of ten minutes", g)
	}
	q, g = q.Take(ask, start.Add(g.Wait))
	if g.Requests != 1 {
		t.Fatalf("got %+v, want one call", g)
	}
	if _, g = q.Take(ask, after(11*time.Minute)); g.Requests != 0 {
		t.Errorf("got %+v a minute after the probe", g)
	}
}

// The row that it is kept in has to stay small: numbers and times take 8 bytes, a slot of the ring 4.
func TestRowIsSmall(t *testing.T) {
	t.Parallel()
	columns := reflect.TypeFor[quota.Quota]().NumField() + 3*reflect.TypeFor[quota.Limit]().NumField() + 10
	if bytes := 8*columns + 2*(4*quota.Slots+24); bytes > 1100 {
		t.Errorf("the quota takes about %d bytes of a row", bytes)
	}
}

// A call that is booked in the same slot as one that was just observed, but after it, is ours all the same: taken for
// others' use, it would hold back the next calls, which would be taken for others' use again.
func TestOwnCallsInTheSlotOfAnObservationAreNotOthers(t *testing.T) {
	t.Parallel()
	const limit, cost = 60_000, 1000.0
	level := 30_000.0 // the provider's
	q := knows(quota.Tokens, limit, level)
	now := start
	for range 80 { // a call each second, at its refill, in one slot with the observation before it
		now = now.Add(time.Second)
		level += cost
		q = q.Observe(said(quota.Tokens, limit, level, 0), now)
		var g quota.Grant
		if q, g = q.Take(quota.Ask{Requests: 1, TokensEach: cost, Workers: 1, Tau: tau}, now.Add(10*time.Millisecond)); g.Requests != 1 {
			t.Fatalf("nothing was granted: %+v", q.Limits[quota.Tokens])
		}
		level -= cost
	}
	l := q.Limits[quota.Tokens]
	near(t, "others' tokens a second", l.Drain, 0, 20)
	near(t, "price of a token", l.Price.Charged/l.Price.Booked, 1, 0.05)
}

// A worker whose calls start later than its permits allow says so, and they are booked for then.
func TestCallsAreBookedForWhenTheyStart(t *testing.T) {
	t.Parallel()
	q, g := knows(quota.Requests, 600, 600).Take(quota.Ask{Requests: 1, Workers: 1, Tau: tau, Delay: 2 * time.Second}, start)
	if g.Requests != 1 || g.For < 3*time.Second {
		t.Fatalf("%+v", g)
	}
	// Observed a second later, it has not been admitted yet; three seconds later, it has.
	q = q.Observe(said(quota.Requests, 600, 300, 0), after(time.Second))
	near(t, "level before it starts", q.Limits[quota.Requests].Level, 299, 0.1)
	q = q.Observe(said(quota.Requests, 600, 300, 0), after(3*time.Second))
	near(t, "level after it started", q.Limits[quota.Requests].Level, 300, 0.1)
}

// A storm of refusals that tell nothing leaves a pace of next to nothing. Where headers tell of room afterwards it is soon
// forgotten; where nothing else is told it is all there is.
func TestAStormIsForgottenWhereHeadersTell(t *testing.T) {
	t.Parallel()
	for _, told := range []bool{true, false} {
		var q quota.Quota
		if told {
			q = knows(quota.Requests, 6000, 6000)
		}
		now := start
		for range 10 {
			now = now.Add(time.Second)
			q = q.Refused(quota.Refusal{}, now)
		}
		now = now.Add(25 * time.Second)
		if told {
			q = q.Observe(said(quota.Requests, 6000, 6000, 0), now)
		}
		_, g := q.Take(quota.Ask{Requests: 100, Workers: 1, Tau: tau}, now)
		if free := g.Requests >= 50; free != told {
			t.Errorf("headers %v: %d calls of 100 a second are granted for half a second", told, g.Requests)
		}
	}
}
