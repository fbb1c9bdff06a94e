package quota_test

import (
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/quota"
)

// keeps is the level below which no call is granted.
func keeps(q quota.Quota, now time.Time) float64 {
	q = q.Advance(now)
	for level := range 1000 {
		q.Limits[quota.Requests].Level = float64(level)
		if _, g := q.Take(quota.Ask{Requests: 1, Workers: 1, Tau: tau}, now); g.Requests == 1 {
			return float64(level - 1) // one is taken
		}
	}
	return 1000
}

// The reserve is as large as the bucket was found below it, so that a neighbour who takes 200 calls at one go finds them
// the next time; it shrinks again when nothing of that kind is seen, and is at most 30 % and at least 2 %.
func TestReserveFollowsItsNeed(t *testing.T) {
	t.Parallel()
	seen := func(remaining float64, times int, every time.Duration, q quota.Quota, now time.Time) (quota.Quota, time.Time) {
		for range times {
			now = now.Add(every)
			q = q.Observe(said(quota.Requests, 1000, remaining, 0), now)
		}
		return q, now
	}
	fresh := knows(quota.Requests, 1000, 1000)
	near(t, "left at first", keeps(fresh, start), 50, 1)

	q, now := seen(0, 1, time.Minute, fresh, start)
	near(t, "left once it was found empty", keeps(q, now), 1.25*100, 3)

	again, _ := seen(0, 1, time.Second, q, now)
	near(t, "left when that is seen twice at one time", keeps(again, now), 1.25*100, 3)

	q, now = seen(0, 20, time.Minute, q, now)
	near(t, "left when it is always found empty", keeps(q, now), 300, 3)

	q, now = seen(100, 1, time.Minute, knows(quota.Requests, 1000, 1000), start)
	q, now = seen(1000, 30, time.Minute, q, now)
	near(t, "left after half an hour of quiet", keeps(q, now), 20, 1)
}
