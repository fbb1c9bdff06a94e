package retry

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind says how far a call came.
type Kind string

const (
	KindStatus    Kind = "status"    // the provider answered; Status tells what
	KindFailed    Kind = "failed"    // it answered 200, and then that it failed: Type and Code tell why
	KindTransport Kind = "transport" // no answer: refused, reset, no such host
	KindTimeout   Kind = "timeout"   // no whole answer within the type's timeout
	KindMalformed Kind = "malformed" // an answer that is none: not JSON, or not the JSON that was asked for
	KindCut       Kind = "cut"       // a stream that ended before its last event
)

// Answer is all that counts of what a provider answered, or did not.
type Answer struct {
	Kind    Kind
	Status  int         // HTTP status, 0 where there was none
	Header  http.Header // may be nil
	Type    string      // the error's "type", "" where there was none
	Code    string      // the error's "code"
	Message string      // the error's "message"
	Now     time.Time   // when it arrived
}

// Class is what an answer means for the job and for the upstream.
type Class string

const (
	OK            Class = "ok"
	RateLimited   Class = "rate_limited"  // a limit that refills by itself
	SlowDown      Class = "slow_down"     // the fleet grew its rate too fast
	TooLarge      Class = "too_large"     // more than the limit itself: it can never pass
	Account       Class = "account"       // no credit, a spend limit: a person has to act
	Credentials   Class = "credentials"   // the key is refused
	Configuration Class = "configuration" // the model does not exist
	Rejected      Class = "rejected"      // the request is at fault
	Failure       Class = "failure"       // the provider, or the way to it, is at fault
)

// Outcome is the word for it in the attempts table: ok, rate_limited, rejected,
// held or error.
func (c Class) Outcome() string {
	switch c {
	case OK:
		return "ok"
	case RateLimited, SlowDown:
		return "rate_limited"
	case TooLarge, Rejected:
		return "rejected"
	case Account, Credentials, Configuration:
		return "held"
	default:
		return "error"
	}
}

// Charged reports whether the try counts against max_attempts: all but those
// that say nothing about the job. (A probe, or a failure while the breaker is
// open, is not charged either; that is for the caller, who knows.)
func (c Class) Charged() bool {
	return c.Outcome() != "rate_limited" && c.Outcome() != "held"
}

// BreakerFailure reports whether it counts as a failure of the upstream.
func (c Class) BreakerFailure() bool { return c.Outcome() == "error" }

// HoldReason is the breaker's reason for a class that stops the upstream until a
// person or a probe clears it: account, credentials or configuration; "" for
// every other.
func (c Class) HoldReason() string {
	if c.Outcome() == "held" {
		return string(c)
	}
	return ""
}

// Verdict is what to make of an answer.
type Verdict struct {
	Class Class
	// RetryAfter is the wait that the provider asked for, 0 where it asked for
	// none or where time does not help. At most MaxRetryAfter.
	RetryAfter time.Duration
	// Reason says in a few words of our own why. It never holds a word of the
	// provider's: messages may echo a prompt or a key.
	Reason string
}

// Classify tells what an answer means.
//
// The order matters and follows from how providers answer. The account's stops
// come first, and in both type and code, because "insufficient_quota" may stand
// in either while the status says 429 like any rate limit. A request that can
// never fit comes before the limits that refill, because it carries the same
// code. A 429 that says nothing known is taken for a limit that refills.
//
// The header x-should-retry is not heeded: it tells an SDK whether to send again
// within seconds. A job here waits longer, and behind a breaker.
func Classify(a Answer) Verdict {
	v := classify(a)
	// A Retry-After never means that a bill gets paid or a request gets smaller.
	switch v.Class {
	case RateLimited, SlowDown, Failure:
		v.RetryAfter = asked(a)
	}
	return v
}

func classify(a Answer) Verdict {
	answered := a.Status >= 400 || a.Kind == KindFailed
	if stop, ok := a.names(accountStops); answered && ok {
		return Verdict{Class: Account, Reason: stop}
	}
	switch {
	case a.Kind == KindFailed:
		return classifyFailed(a)
	case a.Status >= 400: // whatever became of the body
		return classifyStatus(a)
	case a.Kind == KindTransport:
		return Verdict{Class: Failure, Reason: "no connection to the provider"}
	case a.Kind == KindTimeout:
		return Verdict{Class: Failure, Reason: "no answer in time"}
	case a.Kind == KindCut:
		return Verdict{Class: Failure, Reason: "the answer was cut short"}
	case a.Kind == KindStatus && a.Status >= 200 && a.Status < 300:
		return Verdict{Class: OK}
	default:
		return Verdict{Class: Failure, Reason: "the answer was not one of the API's"}
	}
}

// classifyStatus judges an HTTP status of 400 or more.
func classifyStatus(a Answer) Verdict {
	reason := "HTTP " + strconv.Itoa(a.Status)
	if text := http.StatusText(a.Status); text != "" {
		reason += " " + text
	}
	switch a.Status {
	case http.StatusPaymentRequired:
		return Verdict{Class: Account, Reason: reason}
	case http.StatusTooManyRequests:
		return classifyLimit(a)
	case statusFlexCapacity:
		return Verdict{Class: RateLimited, Reason: "no capacity in the flex tier"}
	case http.StatusUnauthorized, http.StatusForbidden:
		return Verdict{Class: Credentials, Reason: reason}
	case http.StatusRequestTimeout, http.StatusConflict:
		return Verdict{Class: Failure, Reason: reason}
	case http.StatusNotFound:
		if code, ok := a.names(missingModels); ok {
			return Verdict{Class: Configuration, Reason: code}
		}
		if noModel.MatchString(a.Message) {
			return Verdict{Class: Configuration, Reason: "no such model"}
		}
	}
	if a.Status >= 500 { // Anthropic's 529 and Cloudflare's 520 to 527 too
		return Verdict{Class: Failure, Reason: reason}
	}
	return Verdict{Class: Rejected, Reason: reason}
}

// statusFlexCapacity is Groq's status for "flex tier at capacity".
const statusFlexCapacity = 498

// classifyLimit judges a 429, or a failure that says the same, that is not the
// account's.
func classifyLimit(a Answer) Verdict {
	if neverFits(a.Message) {
		return Verdict{Class: TooLarge, Reason: "the request is larger than the whole limit"}
	}
	if code, ok := a.names(slowDowns); ok {
		return Verdict{Class: SlowDown, Reason: code}
	}
	if code, ok := a.names(limits); ok {
		return Verdict{Class: RateLimited, Reason: code}
	}
	return Verdict{Class: RateLimited, Reason: "HTTP 429 Too Many Requests"}
}

// classifyFailed judges an answer of 200, or an event of a stream, that carries
// an error. There is no status to go by, only the error's own words.
func classifyFailed(a Answer) Verdict {
	if _, ok := a.names(slices.Concat(slowDowns, limits)); ok {
		return classifyLimit(a)
	}
	if code, ok := a.names(missingModels); ok {
		return Verdict{Class: Configuration, Reason: code}
	}
	if code, ok := a.names(credentials); ok {
		return Verdict{Class: Credentials, Reason: code}
	}
	if faultOfRequest(a.Code) || faultOfRequest(a.Type) {
		return Verdict{Class: Rejected, Reason: "the provider refused the request"}
	}
	// server_error, vector_store_timeout, overloaded_error and all that is new:
	// to try again costs little, to give up loses work.
	return Verdict{Class: Failure, Reason: "the provider failed"}
}

// The words by which providers name an error, in "type" or in "code".
var (
	// Waiting does not help: someone has to pay or to raise a limit.
	accountStops = []string{
		"insufficient_quota", "credit_balance_exhausted", "billing_not_active",
		"organization_spend_limit_exceeded", "project_spend_limit_exceeded", "organization_usage_limit_exceeded",
		"billing_hard_limit_reached", // OpenAI, older
		"billing_error",              // Anthropic
	}
	slowDowns = []string{"slow_down"}
	limits    = []string{
		"rate_limit_exceeded", "rate_limit_error",
		"resource_unavailable", // the flex tier has no capacity now; not charged
	}
	missingModels = []string{"model_not_found", "DeploymentNotFound" /* Azure */}
	credentials   = []string{"invalid_api_key", "authentication_error", "permission_error"}
)

// noModel knows the 404 of servers that have no code for it: "The model `x` does not exist." (vLLM), "model 'x' not found, try
// pulling it first" (Ollama). Taken for the job's fault, a typo in the configuration would fail every job.
var noModel = regexp.MustCompile(`(?i)\bmodel\b.{0,300}\b(?:does not exist|not found)\b`)

// names returns the first of the words that is the answer's type or code.
func (a Answer) names(words []string) (string, bool) {
	i := slices.IndexFunc(words, func(w string) bool { return w == a.Type || w == a.Code })
	if i < 0 {
		return "", false
	}
	return words[i], true
}

// faultOfRequest knows the codes of a failed response that blame its input:
// invalid_prompt, invalid_image_url, image_too_large, cyber_policy_violation, ...
func faultOfRequest(code string) bool {
	switch code {
	case "context_length_exceeded", "content_filter", "empty_image_file", "failed_to_download_image", "request_too_large":
		return true
	}
	return strings.HasPrefix(code, "invalid_") || strings.HasPrefix(code, "image_") ||
		strings.HasPrefix(code, "unsupported_") || strings.Contains(code, "policy")
}

// limitUsedRequested finds "Limit 30000, Used 29000, Requested 2000", with or without "Used".
var limitUsedRequested = regexp.MustCompile(`Limit:? ([0-9]+),(?: Used:? ([0-9]+),)? Requested:? ([0-9]+)`)

// LimitOf reads the numbers of a 429 that refills: "Rate limit reached for M in organization O on tokens per min (TPM):
// Limit 30000, Used 29000, Requested 2000". False: the message does not have them all.
func LimitOf(message string) (limit, used, requested float64, ok bool) {
	m := limitUsedRequested.FindStringSubmatch(message)
	if m == nil || m[2] == "" {
		return 0, 0, 0, false
	}
	limit, err := strconv.ParseFloat(m[1], 64)
	used, err2 := strconv.ParseFloat(m[2], 64)
	requested, err3 := strconv.ParseFloat(m[3], 64)
	return limit, used, requested, err == nil && err2 == nil && err3 == nil
}

// neverFits reports whether a 429 says that the request alone exceeds the limit.
func neverFits(message string) bool {
	if strings.Contains(strings.ToLower(message), "request too large") {
		return true
	}
	m := limitUsedRequested.FindStringSubmatch(message)
	if m == nil {
		return false
	}
	limit, limitErr := strconv.ParseFloat(m[1], 64)
	requested, requestedErr := strconv.ParseFloat(m[3], 64)
	return limitErr == nil && requestedErr == nil && requested > limit
}

// asked is the longer of the waits in the header and in the message: the one is
// rounded to seconds, the other may be missing.
func asked(a Answer) time.Duration {
	header, _ := RetryAfter(a.Header, a.Now)
	message, _ := TryAgainIn(a.Message)
	return max(header, message)
}
