package upstream

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/sluicedev/sluice/pkg/breaker"
	"github.com/sluicedev/sluice/pkg/quota"
)

// Visit is what a worker brings of an upstream when it looks in, and what it asks for. One visit is one short
// transaction, whatever it carries; a zero field brings nothing.
type Visit struct {
	Report    breaker.Report     // what calls met
	Seen      *quota.Observation // headers of the call that was admitted last
	Unread    int                // answers that said nothing of a quota
	Refusals  []quota.Refusal    // 429s that refill by themselves
	SlowDowns []time.Duration    // ages of 429s that said slow_down
	Unspent   []Unspent          // permits that will not be used
	Ask       quota.Ask          // for new ones
}

// Unspent is what is left of a grant.
type Unspent struct {
	Requests int
	Tokens   float64
	Granted  time.Time // Grant.At
}

// Bought is what a visit brought home.
type Bought struct {
	quota.Grant
	Swaps int // transactions that it took: in all but the last somebody else was faster
}

// Visit hands in what a worker brings and returns what it bought. Without an Ask that is nothing.
func (s *Store) Visit(ctx context.Context, name, worker string, v Visit) (Status, Bought, error) {
	var bought Bought
	status, swaps, err := s.change(ctx, name, worker, func(r row) row {
		old := r.breaker().Sane(s.rules, r.Now)
		next := old.Report(v.Report, s.rules, r.Now, rand.Float64())
		var q quota.Quota
		q, bought.Grant = v.budget(turned(r.Quota.Quota, old, next, r.Now), next, r.Now)
		return r.with(next).withQuota(q)
	})
	bought.Swaps = swaps
	return status, bought, wrap("visit "+name, err)
}

// budget applies what the visit says of the quota, and sells what it asks for if calls may start.
func (v Visit) budget(q quota.Quota, b breaker.Breaker, now time.Time) (quota.Quota, quota.Grant) {
	for _, u := range v.Unspent {
		q = q.Return(u.Requests, u.Tokens, u.Granted, now)
	}
	for _, r := range v.Refusals {
		q = q.Refused(r, now)
	}
	for _, age := range v.SlowDowns {
		q = q.SlowDown(age, now)
	}
	if v.Unread > 0 {
		q = q.Unread(v.Unread, now)
	}
	if v.Seen != nil {
		q = q.Observe(*v.Seen, now)
	}
	if v.Ask.Requests == 0 || b.State != breaker.Closed {
		return q, quota.Grant{At: now}
	}
	return q.Take(v.Ask, now)
}

// turned tells the quota of a breaker that tripped or closed: its pace then has to rise again.
func turned(q quota.Quota, old, next breaker.Breaker, now time.Time) quota.Quota {
	switch {
	case old.State == breaker.Closed && next.State == breaker.Open:
		return q.Opened(0, now)
	case old.State != breaker.Closed && next.State == breaker.Closed:
		return q.Closed(now)
	}
	return q
}
