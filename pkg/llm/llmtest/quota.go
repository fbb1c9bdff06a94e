package llmtest

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// maxModels bounds the models whose buckets are kept; calls for further ones share one.
const maxModels = 1000

// quota holds the buckets of each model.
type quota struct {
	mu     sync.Mutex
	models map[string]*limits
}

// limits are what one model's calls are measured by.
type limits struct {
	requests, tokens, project *bucket
}

// dimension is one bucket with its names in headers and messages, and what a call takes from it.
type dimension struct {
	*bucket
	header, errorType, noun, unit string
	cost                          int64
}

func (l *limits) dimensions(tokens int64) []dimension {
	return []dimension{
		{l.requests, "requests", "requests", "requests", "RP", 1},
		{l.tokens, "tokens", "tokens", "tokens", "TP", tokens},
		{l.project, "project-tokens", "tokens", "tokens", "TP", tokens},
	}
}

// admission is the limiter's verdict on one call.
type admission struct {
	header  http.Header // the quota headers, as of the admission
	refusal *refusal    // nil when admitted
}

// admit charges a call, or refuses it: a refused call still costs its request.
func (q *quota) admit(s Script, model string, tokens int64, now time.Time) admission {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.limits(s, model, now)
	dimensions := l.dimensions(tokens)
	var no *refusal
	if d := firstRefused(dimensions); d != nil {
		no = d.refuse(model)
	} else {
		l.tokens.spend(tokens)
		l.project.spend(tokens)
	}
	l.requests.spend(1)
	return admission{header: headers(dimensions), refusal: no}
}

// charge takes a failed call's request.
func (q *quota) charge(s Script, model string, now time.Time) http.Header {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.limits(s, model, now)
	l.requests.spend(1)
	return headers(l.dimensions(0))
}

// limits finds the model's buckets, as of now and as large as the script says.
func (q *quota) limits(s Script, model string, now time.Time) *limits {
	if q.models == nil {
		q.models = map[string]*limits{}
	}
	if _, known := q.models[model]; !known && len(q.models) >= maxModels {
		model = "(others)"
	}
	l := q.models[model]
	if l == nil {
		l = &limits{newBucket(s.RPM, s.window(), now), newBucket(s.TPM, s.window(), now), newBucket(s.ProjectTPM, s.window(), now)}
		q.models[model] = l
	}
	want := map[*bucket]int64{l.requests: s.RPM, l.tokens: s.TPM, l.project: s.ProjectTPM}
	for b, limit := range want {
		b.advance(now)
		if b.limit != limit || b.window != s.window() {
			b.resize(limit, s.window())
		}
	}
	return l
}

// Level is what is left of a model's quota; a limit of 0 is none.
type Level struct {
	RequestLimit      int64 `json:"request_limit"`
	RequestsRemaining int64 `json:"requests_remaining"`
	TokenLimit        int64 `json:"token_limit"`
	TokensRemaining   int64 `json:"tokens_remaining"`
}

func (q *quota) levels(s Script, now time.Time) map[string]Level {
	q.mu.Lock()
	defer q.mu.Unlock()
	levels := map[string]Level{}
	for model := range q.models {
		l := q.limits(s, model, now)
		levels[model] = Level{l.requests.limit, l.requests.remaining(), l.tokens.limit, l.tokens.remaining()}
	}
	return levels
}

func firstRefused(dimensions []dimension) *dimension {
	for i := range dimensions {
		if !dimensions[i].fits(dimensions[i].cost) {
			return &dimensions[i]
		}
	}
	return nil
}

// organization is what the simulator calls its owner.
const organization = "org-simulator"

// refuse words a 429 as OpenAI does.
func (d *dimension) refuse(model string) *refusal {
	where := fmt.Sprintf("for %s in organization %s on %s per %s", model, organization, d.noun, d.per())
	if d.never(d.cost) {
		return &refusal{status: http.StatusTooManyRequests, errorType: d.errorType, code: "rate_limit_exceeded",
			message: fmt.Sprintf("Request too large %s: Limit %d, Requested %d. The input or output tokens must be reduced in order to run successfully.",
				where, d.limit, d.cost)}
	}
	wait := d.wait(d.cost)
	return &refusal{status: http.StatusTooManyRequests, errorType: d.errorType, code: "rate_limit_exceeded",
		message: fmt.Sprintf("Rate limit reached %s: Limit %d, Used %d, Requested %d. Please try again in %s. Visit https://platform.openai.com/account/rate-limits to learn more.",
			where, d.limit, d.used(), d.cost, wait),
		retryAfter: strconv.Itoa(max(1, int(math.Ceil(wait.Seconds()))))}
}

// per names the window: "min (TPM)", "day (RPD)".
func (d *dimension) per() string {
	if d.window == 24*time.Hour {
		return "day (" + d.unit + "D)"
	}
	return "min (" + d.unit + "M)"
}

func headers(dimensions []dimension) http.Header {
	h := http.Header{}
	for _, d := range dimensions {
		if d.unlimited() {
			continue
		}
		h.Set("X-Ratelimit-Limit-"+d.header, strconv.FormatInt(d.limit, 10))
		h.Set("X-Ratelimit-Remaining-"+d.header, strconv.FormatInt(d.remaining(), 10))
		h.Set("X-Ratelimit-Reset-"+d.header, d.reset().String())
	}
	return h
}
