package quota_test

import (
	"math"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicedev/sluice/pkg/quota"
)

// sound fails if a quota is not what the package promises of every one.
func sound(t rapid.TB, q quota.Quota) {
	t.Helper()
	for d, l := range q.Limits {
		for _, v := range []float64{l.Limit, l.Level, l.Remaining, l.Drain, l.Rate(), l.Dip.Depth, l.Price.Charged, l.Price.Booked} {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				t.Fatalf("%s has a number that is none: %+v", quota.Dimension(d), l)
			}
		}
		if l.Level > l.Limit || l.Known() && l.Window < time.Second || l.Dip.Depth < 0 || l.Dip.Depth > 0.3 || l.Price.Charged < 0 || l.Price.Charged > l.Price.Booked {
			t.Fatalf("%s is out of bounds: %+v", quota.Dimension(d), l)
		}
	}
	for _, v := range []float64{q.Slow.Rate, q.Ramp.Full, q.Cubic.Rate, q.Cubic.Starts, q.Turn.Tokens} {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			t.Fatalf("a pace is no number: %+v", q)
		}
	}
	for i := range q.Ring.Requests {
		if q.Ring.Requests[i] < 0 || q.Ring.Tokens[i] < 0 {
			t.Fatalf("a slot of the ring is below 0: %+v", q.Ring)
		}
	}
}

var (
	someLimit  = rapid.Float64Range(1, 1e7)
	someTokens = rapid.Float64Range(0, 2e4)
	someAge    = rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "age"))
	})
	someWindow = rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Second, time.Minute, time.Hour, 24 * time.Hour, 30 * 24 * time.Hour})
)

func someObservation(t *rapid.T) quota.Observation {
	o := quota.Observation{Age: someAge.Draw(t, "age")}
	for d := range o.Readings {
		if rapid.Bool().Draw(t, "there") {
			limit := someLimit.Draw(t, "limit")
			remaining := limit * rapid.Float64Range(0, 1).Draw(t, "share")
			reset := time.Duration((1 - remaining/limit) * float64(someWindow.Draw(t, "window")))
			o.Readings[d] = quota.Reading{Limit: limit, Remaining: remaining, Reset: reset}
		}
	}
	return o
}

func someAsk(t *rapid.T) quota.Ask {
	return quota.Ask{Requests: rapid.IntRange(1, 200).Draw(t, "requests"), TokensEach: math.Ceil(someTokens.Draw(t, "tokens")),
		Workers: rapid.IntRange(1, 64).Draw(t, "workers"), Tau: time.Duration(rapid.Int64Range(int64(100*time.Millisecond), int64(2*time.Second)).Draw(t, "tau"))}
}

// someHistory is a quota that a lot happened to, and when.
func someHistory(t *rapid.T) (quota.Quota, time.Time) {
	var q quota.Quota
	now, grants := start, []quota.Grant{{At: start}}
	for range rapid.IntRange(0, 30).Draw(t, "steps") {
		now = now.Add(time.Duration(rapid.Int64Range(-int64(time.Second), int64(10*time.Second)).Draw(t, "step")))
		grant := rapid.SampledFrom(grants).Draw(t, "grant")
		switch rapid.IntRange(0, 8).Draw(t, "what") {
		case 0, 1:
			q = q.Observe(someObservation(t), now)
		case 2, 3:
			var g quota.Grant
			q, g = q.Take(someAsk(t), now)
			grants = append(grants, g)
		case 4:
			q = q.Return(rapid.IntRange(0, 10).Draw(t, "calls"), someTokens.Draw(t, "tokens"), grant.At, now)
		case 5:
			limit := someLimit.Draw(t, "limit")
			q = q.Refused(quota.Refusal{Granted: grant.At, Tokens: someTokens.Draw(t, "tokens"), Age: someAge.Draw(t, "age"),
				Said: quota.Said{Dimension: quota.Dimension(rapid.IntRange(0, 2).Draw(t, "d")), Limit: limit, Used: limit, Requested: 1, Wait: time.Second}}, now)
		case 6:
			q = q.Refused(quota.Refusal{Granted: grant.At, Age: someAge.Draw(t, "age"), RetryAfter: someAge.Draw(t, "retry after")}, now)
		case 7:
			q = q.SlowDown(someAge.Draw(t, "age"), now)
		case 8:
			q = q.Opened(rapid.Float64Range(0, 100).Draw(t, "starts"), now).Closed(now)
		}
		sound(t, q)
	}
	return q, now
}

// A wait is honest and never 0 where nothing was granted: the same ask gets something when it is over. And whatever
// happened, it is never longer than until the next probe or the end of a pause: no deadlock.
func TestWaitIsHonest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q, now := someHistory(t)
		ask := someAsk(t)
		q, g := q.Take(ask, now)
		sound(t, q)
		if g.Requests > ask.Requests || g.Requests > 0 && g.Tokens != float64(g.Requests)*ask.TokensEach {
			t.Fatalf("asked for %+v, granted %+v", ask, g)
		}
		if g.Requests > 0 {
			return
		}
		if g.Wait <= 0 {
			t.Fatalf("nothing was granted and no wait was said: %+v", g)
		}
		if g.Wait > time.Hour {
			t.Fatalf("the wait is %s", g.Wait)
		}
		if _, then := q.Take(ask, now.Add(g.Wait)); then.Requests == 0 {
			t.Fatalf("nothing was granted after the wait of %s: %+v\n%+v", g.Wait, then, q)
		}
	})
}

// Permits that are returned at once leave the levels and the ring as they were.
func TestReturnRestores(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q, now := someHistory(t)
		q = q.Advance(now)
		ask := someAsk(t)
		taken, g := q.Take(ask, now)
		back := taken.Return(g.Requests, g.Tokens, g.At, now)
		for d, l := range back.Limits {
			if was := q.Limits[d]; l.Known() && was.Level-float64(g.Requests)*max(1, ask.TokensEach) > -was.Limit && math.Abs(l.Level-was.Level) > 1e-6*was.Limit+1e-3 {
				if !l.SeenAt.Before(g.At) {
					continue // observed in this very moment: the permits count as sent
				}
				t.Fatalf("%s was %+v, is %+v after %+v came back", quota.Dimension(d), was, l, g)
			}
		}
		if sum(back.Ring.Requests) != sum(q.Ring.Requests) && back.Ring.At.Equal(q.Ring.At) {
			t.Fatalf("the ring holds %d calls, held %d", sum(back.Ring.Requests), sum(q.Ring.Requests))
		}
	})
}

func sum(slots [quota.Slots]int32) (n int64) {
	for _, s := range slots {
		n += int64(s)
	}
	return n
}

// Observations may arrive in any order: the limits and the levels are the same.
func TestOrderOfArrival(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := knows(quota.Requests, 1000, 500)
		q, _ = q.Take(quota.Ask{Requests: 20, Workers: 1, Tau: time.Second}, after(time.Second))
		now := after(10 * time.Second)
		var all []quota.Observation
		for i := range rapid.IntRange(1, 6).Draw(t, "observations") {
			limit := someLimit.Draw(t, "limit")
			all = append(all, said(quota.Requests, limit, limit*rapid.Float64Range(0, 1).Draw(t, "share"), time.Duration(i+1)*time.Second))
		}
		arrive := func(all []quota.Observation) quota.Limit {
			q := q
			for _, o := range all {
				q = q.Observe(o, now)
			}
			l := q.Limits[quota.Requests]
			l.Drain, l.Level, l.Window = 0, math.Round(l.Level/l.Limit*10), 0
			return l
		}
		want := arrive(all[:1]) // the first of them was admitted last
		if got := arrive(rapid.Permutation(all).Draw(t, "order")); got.Limit != want.Limit || got.SeenAt != want.SeenAt || got.Remaining != want.Remaining {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

// One worker alone that hears of every call at once, and spends its chunks as agreed, is never refused: in no time does it
// take more than the provider's bucket holds and refills. (A call of more than half the bucket has no reserve left to
// cover the drift of 2 % in a long silence: that one may be.)
func TestNeverRefusedAlone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := math.Floor(rapid.Float64Range(20, 5000).Draw(t, "limit"))
		cost := math.Ceil(rapid.Float64Range(1, 1.5*limit).Draw(t, "cost"))
		p := provider{bucket{limit, limit, start}, bucket{3 * limit, 3 * limit, start}}
		q := quota.Quota{}.Observe(quota.Observation{Readings: [quota.Dimensions]quota.Reading{p.requests.reading(), p.tokens.reading()}}, start)
		now := start
		for range 60 {
			var g quota.Grant
			ask := quota.Ask{Requests: rapid.IntRange(1, 50).Draw(t, "ask"), TokensEach: cost, Workers: 1, Tau: tau}
			q, g = q.Take(ask, now)
			for i := range g.Requests {
				at := now.Add(tau * time.Duration(i) / time.Duration(g.Requests))
				if _, ok := p.admit(cost, at); !ok {
					t.Fatalf("call %d of %d at %s was refused: %+v", i, g.Requests, at.Sub(start), p)
				}
			}
			seen := now
			if g.Requests > 0 {
				seen = now.Add(tau * time.Duration(g.Requests-1) / time.Duration(g.Requests))
				p.requests.advance(seen)
				p.tokens.advance(seen)
			}
			readings := [quota.Dimensions]quota.Reading{p.requests.reading(), p.tokens.reading()}
			now = now.Add(max(tau, g.Wait))
			if g.Requests > 0 {
				q = q.Observe(quota.Observation{Age: now.Sub(seen), Readings: readings}, now)
			}
			sound(t, q)
		}
	})
}

// Steps of any size give the same level as one.
func TestAdvanceInSteps(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q, now := someHistory(t)
		q = q.Advance(now)
		end := now.Add(30 * time.Second)
		once, steps := q.Advance(end), q
		for at := now; at.Before(end); at = at.Add(time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(9*time.Second)).Draw(t, "step"))) {
			steps = steps.Advance(at)
		}
		steps = steps.Advance(end)
		for d, l := range steps.Limits {
			if l.Known() {
				if math.Abs(l.Level-once.Limits[d].Level) > 1e-6*l.Limit {
					t.Fatalf("%s: %v in steps, %v at once", quota.Dimension(d), l.Level, once.Limits[d].Level)
				}
			}
		}
	})
}

// A quota is a value: no method changes the one that it is called on.
func TestValue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q, now := someHistory(t)
		before := q
		q.Observe(someObservation(t), now)
		q.Take(someAsk(t), now.Add(time.Second))
		q.Return(3, 100, now, now.Add(time.Second))
		q.Refused(quota.Refusal{Granted: now, Tokens: 10}, now.Add(time.Second))
		if !reflect.DeepEqual(before, q) {
			t.Fatal("a quota changed")
		}
	})
}

// Nothing that a provider or a worker can say panics or leaves a number that is none.
func FuzzJunk(f *testing.F) {
	f.Add(500.0, 400.0, int64(time.Second), int64(0), int64(time.Second), 100.0, 3, uint8(0))
	f.Add(math.NaN(), math.Inf(1), int64(-1), int64(math.MinInt64), int64(math.MaxInt64), math.NaN(), -1, uint8(1))
	f.Add(math.Inf(1), math.Inf(-1), int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MinInt64), math.Inf(1), math.MaxInt, uint8(2))
	f.Add(math.Inf(1), 5.0, int64(time.Second), int64(0), int64(time.Second), 100.0, 3, uint8(0))
	f.Add(math.MaxFloat64, math.MaxFloat64, int64(1), int64(1), int64(0), math.MaxFloat64, math.MinInt, uint8(7))
	f.Add(math.SmallestNonzeroFloat64, 0.0, int64(1), int64(5), int64(20*time.Minute), -1.0, 1, uint8(3))
	f.Fuzz(func(t *testing.T, a, b float64, reset, age, step int64, tokens float64, n int, d uint8) {
		q := knows(quota.Requests, 600, 300)
		for i := range 3 {
			now := start.Add(time.Duration(step / int64(i+1)))
			o := quota.Observation{Age: time.Duration(age)}
			o.Readings[int(d)%quota.Dimensions] = quota.Reading{Limit: a, Remaining: b, Reset: time.Duration(reset)}
			q = q.Observe(o, now)
			var g quota.Grant
			q, g = q.Take(quota.Ask{Requests: n, TokensEach: tokens, Workers: n, Tau: time.Duration(reset)}, now)
			if g.Requests < 0 || g.Requests == 0 && g.Wait <= 0 || math.IsNaN(g.Tokens) {
				t.Fatalf("granted %+v", g)
			}
			sound(t, q)
			q = q.Refused(quota.Refusal{Granted: g.At, Tokens: tokens, Age: time.Duration(age), RetryAfter: time.Duration(reset),
				Said: quota.Said{Dimension: quota.Dimension(int8(d)), Limit: a, Used: b, Requested: tokens, Wait: time.Duration(reset)}}, now)
			q = q.Return(n, tokens, g.At, now).SlowDown(time.Duration(age), now).Opened(b, now).Closed(now).Unread(n, now)
			q.Fits(tokens, now)
			q.Needed(now)
			sound(t, q)
		}
	})
}
