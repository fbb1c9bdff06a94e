package quota_test

import (
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/quota"
)

// spends is a fleet of one that books 10,000 tokens for each call, of which the provider takes a share, and beside it
// somebody else, who takes so much a second. It returns the quota after a minute and the calls of its last ten seconds.
func spends(share, others float64) (quota.Quota, int) {
	const limit, booked = 1e6, 10_000
	p := provider{bucket{1e6, 1e6, start}, bucket{limit, 0.2 * limit, start}}
	q := quota.Quota{}.Observe(said(quota.Tokens, limit, 0.2*limit, 0), start)
	lately := 0
	for now := start; now.Before(after(time.Minute)); now = now.Add(tau) {
		var g quota.Grant
		q, g = q.Take(quota.Ask{Requests: 500, TokensEach: booked, Workers: 1, Tau: tau}, now)
		p.admit(others*tau.Seconds(), now)
		for range g.Requests {
			p.admit(booked*share, now)
		}
		if now.After(after(50 * time.Second)) {
			lately += g.Requests
		}
		o := quota.Observation{Age: 10 * time.Millisecond}
		o.Readings[quota.Tokens] = p.tokens.reading()
		q = q.Observe(o, now.Add(tau-time.Millisecond))
	}
	return q, lately
}

// A provider that takes a tenth of what was booked is found out: the fleet makes ten times the calls that its bookings
// would allow. What is taken beyond the bookings is somebody else's, and makes nothing dearer.
func TestPriceOfWhatIsBooked(t *testing.T) {
	t.Parallel()
	refill := 1e6 / 60.0
	for _, c := range []struct {
		name          string
		share, others float64
		price, calls  float64 // a second
	}{
		{"as booked", 1, 0, 1, refill / 10_000},
		{"a tenth", 0.1, 0, 0.1, refill / 1000},
		{"a hundredth", 0.01, 0, 0.01, refill / 100},
		{"half as much again", 1.5, 0, 1, refill / 15_000},
		{"as booked, beside others", 1, refill / 2, 1, refill / 20_000},
	} {
		q, lately := spends(c.share, c.others)
		p := q.Limits[quota.Tokens].Price
		near(t, c.name+": price", p.Charged/p.Booked, c.price, 0.15*c.price)
		near(t, c.name+": calls a second", float64(lately)/10, c.calls, 0.25*c.calls)
	}
	if dear, _ := spends(1, 0); fits(dear, 2e6) {
		t.Error("a call that is charged twice the limit was said to fit")
	}
	if cheap, _ := spends(0.1, 0); !fits(cheap, 2e7) {
		t.Error("a call was said not to fit although nobody knows what it will be charged")
	}
}

func fits(q quota.Quota, tokens float64) bool {
	_, ok := q.Fits(tokens, after(time.Minute))
	return ok
}
