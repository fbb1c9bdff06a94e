package api

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicedev/sluice/pkg/key"
)

func TestRateLimit(t *testing.T) {
	t.Parallel()
	const most = 2
	g := openGuarded(t, func(s *Server) { s.rates.most = most })
	text, other := g.key("acme", key.Read), g.key("acme", key.Read)
	first := g.with(text, "GET", "/api/ai/jobs", "")
	if first.StatusCode != http.StatusOK || first.Header.Get("RateLimit-Policy") != `"key";q=2;w=1` || first.Header.Get("RateLimit") != `"key";r=1;t=1` {
		t.Errorf("%d %v", first.StatusCode, first.Header)
	}
	limited := answer{}
	g.until("it is limited", func() bool {
		const atOnce = 20 // more than two a second even on a busy machine
		answers := make(chan answer, atOnce)
		for range atOnce {
			go func() { answers <- g.with(text, "GET", "/api/ai/jobs", "") }()
		}
		for range atOnce {
			if a := <-answers; a.StatusCode == http.StatusTooManyRequests {
				limited = a
			}
		}
		if a := g.with(text, "GET", "/livez", ""); a.Header.Get("RateLimit") != "" {
			t.Error("what needs no key is counted")
		}
		return limited.Response != nil
	})
	if p := g.isProblem(limited); p.Type != "urn:sluice:problem:rate_limited" || limited.Header.Get("Retry-After") != "1" || limited.Header.Get("RateLimit") != `"key";r=0;t=1` {
		t.Errorf("%+v %v", p, limited.Header)
	}
	if a := g.with(other, "GET", "/api/ai/jobs", ""); a.StatusCode != http.StatusOK {
		t.Errorf("another key, same address and tenant: %d", a.StatusCode)
	}
	if a := g.with(g.key("acme", key.Read), "POST", "/api/ai/enqueue", plainJob); a.StatusCode != http.StatusForbidden || a.Header.Get("RateLimit") != `"key";r=1;t=1` {
		t.Errorf("what the key may not do is not counted: %d %v", a.StatusCode, a.Header)
	}
	if a := g.do("GET", "/api/ai/jobs", ""); a.StatusCode != http.StatusUnauthorized || a.Header.Get("RateLimit") != "" {
		t.Errorf("without a key: %d", a.StatusCode)
	}
	g.until("the limit ends", func() bool { return g.with(text, "GET", "/api/ai/jobs", "").StatusCode == http.StatusOK })
}

func TestRatesHaveABound(t *testing.T) {
	t.Parallel()
	r := newRates(2)
	h := http.Header{}
	for i := range 2*maxRated + 1 {
		if !r.admit(h, fmt.Sprint(i)) {
			t.Fatal("a key that comes for the first time is refused")
		}
		if len(r.byKey) > maxRated {
			t.Fatalf("%d are kept", len(r.byKey))
		}
	}
	if n := len(r.byKey); n == 0 {
		t.Errorf("%d are kept", n)
	}
	// What is full again makes room for others, and nobody who is at the limit gets around it. By the bubble's clock.
	synctest.Test(t, func(t *testing.T) {
		full := newRates(1000)
		for i := range maxRated - 1 {
			full.bucket(fmt.Sprint(i))
		}
		busy := full.bucket("busy")
		busy.AllowN(time.Now(), 900)
		full.bucket("one more")
		if len(full.byKey) != 2 || full.byKey["busy"] != busy {
			t.Errorf("%d are kept", len(full.byKey))
		}
	})
	if none := newRates(0); !none.admit(http.Header{}, "k") || len(none.byKey) != 0 {
		t.Error("without a limit something is kept")
	}
}
