package api

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	rateHeader       = "RateLimit"
	ratePolicyHeader = "RateLimit-Policy"
)

// rates bounds how many requests a key may make in a second. It is a guard of this process alone: n processes let n times
// as many pass. It goes by the key, which cannot be made up, and not by an address, which many share.
type rates struct {
	most int // 0: any number

	mu    sync.Mutex
	byKey map[string]*rate.Limiter // by id
}

func newRates(most int) *rates { return &rates{most: most, byKey: map[string]*rate.Limiter{}} }

var rateLimited = &refusal{
	status: http.StatusTooManyRequests, kind: kind{"rate_limited", "The key makes too many requests"},
	detail: "the key made as many requests within a second as it may; nothing was done, try again after Retry-After",
}

// admit counts a request and tells its key what is left, by draft-ietf-httpapi-ratelimit-headers. A bucket of a second's
// requests is full again after a second.
func (r *rates) admit(h http.Header, keyID string) bool {
	if r.most == 0 {
		return true
	}
	bucket, now := r.bucket(keyID), time.Now()
	ok := bucket.AllowN(now, 1)
	h.Set(ratePolicyHeader, fmt.Sprintf(`"key";q=%d;w=1`, r.most))
	h.Set(rateHeader, fmt.Sprintf(`"key";r=%d;t=1`, max(0, int(bucket.TokensAt(now)))))
	if !ok {
		h.Set("Retry-After", "1")
	}
	return ok
}

func (r *rates) bucket(keyID string) *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	bucket := r.byKey[keyID]
	if bucket == nil {
		r.makeRoom()
		bucket = rate.NewLimiter(rate.Limit(r.most), r.most)
		r.byKey[keyID] = bucket
	}
	return bucket
}

// makeRoom forgets the buckets that are full again, which loses nothing, or else all of them.
func (r *rates) makeRoom() {
	if len(r.byKey) < maxRated {
		return
	}
	now := time.Now()
	for id, bucket := range r.byKey {
		if bucket.TokensAt(now) >= float64(r.most) {
			delete(r.byKey, id)
		}
	}
	if len(r.byKey) >= maxRated {
		clear(r.byKey)
	}
}
