package retry

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func status(code int, typ, errCode, message string) Answer {
	return Answer{Kind: KindStatus, Status: code, Type: typ, Code: errCode, Message: message, Now: now}
}

func failed(errCode, message string) Answer {
	return Answer{Kind: KindFailed, Status: 200, Code: errCode, Message: message, Now: now}
}

const (
	quotaReached = "Rate limit reached for gpt-5 in organization org-x on tokens per min (TPM): " +
		"Limit 30000, Used 29000, Requested 1322. Please try again in 644ms."
	tooLarge = "Request too large for gpt-5 in organization org-x on tokens per min (TPM): Limit 30000, Requested 31538. " +
		"The input or output tokens must be reduced in order to run successfully."
)

func TestClassify(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		in   Answer
		want Class
	}{
		{"200", status(200, "", "", ""), OK},
		{"201", status(201, "", "", ""), OK},

		{"429 tokens", status(429, "tokens", "rate_limit_exceeded", quotaReached), RateLimited},
		{"429 requests", status(429, "requests", "rate_limit_exceeded", ""), RateLimited},
		{"429 without a word", status(429, "", "", ""), RateLimited},
		{"429 with unknown words", status(429, "brand_new", "never_seen", "?"), RateLimited},
		{"429 of Anthropic", status(429, "rate_limit_error", "", ""), RateLimited},
		{"429 of Gemini, whose rate limit speaks of billing", status(429, "", "429", "You exceeded your current quota, please check your plan and billing details."), RateLimited},
		{"429 whose body was no answer", Answer{Kind: KindMalformed, Status: 429}, RateLimited},
		{"flex without capacity, code", status(429, "", "resource_unavailable", "Resource Unavailable"), RateLimited},
		{"flex without capacity, type", status(429, "resource_unavailable", "", ""), RateLimited},
		{"flex without capacity, Groq", status(498, "", "", ""), RateLimited},

		{"slow_down, code", status(429, "rate_limit_error", "slow_down", ""), SlowDown},
		{"slow_down, type", status(429, "slow_down", "", ""), SlowDown},

		{"too large, by the text", status(429, "tokens", "rate_limit_exceeded", "Request too large for gpt-5."), TooLarge},
		{"too large, by both", status(429, "tokens", "rate_limit_exceeded", tooLarge), TooLarge},
		{"too large, by the numbers", status(429, "tokens", "rate_limit_exceeded", "Limit 30000, Used 0, Requested 30001."), TooLarge},
		{"just fits", status(429, "tokens", "rate_limit_exceeded", "Limit 30000, Used 1, Requested 30000."), RateLimited},
		{"too large before slow_down", status(429, "rate_limit_error", "slow_down", tooLarge), TooLarge},

		{"402", status(402, "", "", ""), Account},
		{"an account's stop on another status", status(403, "", "insufficient_quota", ""), Account},
		{"an older billing stop", status(400, "", "billing_hard_limit_reached", ""), Account},
		{"an account's stop before too large", status(429, "insufficient_quota", "rate_limit_exceeded", tooLarge), Account},
		{"an account's stop before slow_down", status(429, "insufficient_quota", "slow_down", ""), Account},

		{"401", status(401, "", "invalid_api_key", ""), Credentials},
		{"401 as plain text", Answer{Kind: KindMalformed, Status: 401}, Credentials},
		{"403", status(403, "", "", ""), Credentials},
		{"404 of a model", status(404, "invalid_request_error", "model_not_found", ""), Configuration},
		{"404 of a model, type", status(404, "model_not_found", "", ""), Configuration},
		{"404 of an Azure deployment", status(404, "", "DeploymentNotFound", ""), Configuration},

		{"400", status(400, "invalid_request_error", "context_length_exceeded", ""), Rejected},
		{"400 that names a model", status(400, "", "model_not_found", ""), Rejected},
		{"404 of a model, vLLM", status(404, "NotFoundError", "404", "The model `gpt-x` does not exist."), Configuration},
		{"404 of a model, Ollama", status(404, "api_error", "", "model 'gpt-x' not found, try pulling it first"), Configuration},
		{"404", status(404, "", "", ""), Rejected},
		{"404 of what a request names", status(404, "invalid_request_error", "", "Conversation with id 'conv_model' not found."), Rejected},
		{"405", status(405, "", "", ""), Rejected},
		{"410", status(410, "", "", ""), Rejected},
		{"413", status(413, "", "", ""), Rejected},
		{"422", status(422, "", "", ""), Rejected},

		{"408", status(408, "", "", ""), Failure},
		{"409", status(409, "", "", ""), Failure},
		{"500", status(500, "server_error", "", ""), Failure},
		{"502 in HTML", Answer{Kind: KindMalformed, Status: 502}, Failure},
		{"503", status(503, "service_unavailable_error", "server_is_overloaded", ""), Failure},
		{"503 that says slow down", status(503, "", "slow_down", "Slow Down"), Failure},
		{"504", status(504, "", "", ""), Failure},
		{"520", status(520, "", "", ""), Failure},
		{"529", status(529, "overloaded_error", "", ""), Failure},
		{"no connection", Answer{Kind: KindTransport}, Failure},
		{"no answer in time", Answer{Kind: KindTimeout}, Failure},
		{"a 200 that is no answer", Answer{Kind: KindMalformed, Status: 200}, Failure},
		{"a stream cut short", Answer{Kind: KindCut, Status: 200}, Failure},
		{"a redirect", status(302, "", "", ""), Failure},
		{"no status", status(0, "", "", ""), Failure},
		{"nothing at all", Answer{}, Failure},

		{"failed: rate_limit_exceeded", failed("rate_limit_exceeded", quotaReached), RateLimited},
		{"failed: slow_down", failed("slow_down", ""), SlowDown},
		{"failed: too large", failed("rate_limit_exceeded", tooLarge), TooLarge},
		{"failed: insufficient_quota", failed("insufficient_quota", ""), Account},
		{"failed: server_error", failed("server_error", ""), Failure},
		{"failed: vector_store_timeout", failed("vector_store_timeout", ""), Failure},
		{"failed: overloaded", Answer{Kind: KindFailed, Status: 200, Type: "overloaded_error"}, Failure},
		{"failed: unknown", failed("never_seen", ""), Failure},
		{"failed: no code", failed("", ""), Failure},
		{"failed: invalid_prompt", failed("invalid_prompt", ""), Rejected},
		{"failed: an image", failed("image_too_large", ""), Rejected},
		{"failed: a policy", failed("cyber_policy_violation", ""), Rejected},
		{"failed: a bad request", Answer{Kind: KindFailed, Status: 200, Type: "invalid_request_error"}, Rejected},
		{"failed: a model", failed("model_not_found", ""), Configuration},
		{"failed: a key", failed("invalid_api_key", ""), Credentials},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := Classify(tt.in); got.Class != tt.want {
				t.Errorf("Classify = %+v, want %s", got, tt.want)
			}
		})
	}
}

// An account's stop may be told in type or in code, with anything in the other.
func TestClassifyAccountStopsInTypeAndCode(t *testing.T) {
	t.Parallel()
	for _, stop := range []string{
		"insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded",
		"project_spend_limit_exceeded", "organization_usage_limit_exceeded", "billing_not_active",
	} {
		for _, in := range []Answer{
			status(429, stop, "", ""), status(429, "", stop, ""),
			status(429, stop, "rate_limit_exceeded", quotaReached), status(429, "tokens", stop, quotaReached),
			{Kind: KindFailed, Status: 200, Type: stop}, failed(stop, ""),
		} {
			in.Header = http.Header{"Retry-After": {"5"}, "X-Should-Retry": {"true"}}
			if got := Classify(in); got.Class != Account || got.RetryAfter != 0 {
				t.Errorf("type %q, code %q: %+v, want account and no wait", in.Type, in.Code, got)
			}
		}
	}
}

func TestClassifyRetryAfter(t *testing.T) {
	t.Parallel()
	after := func(a Answer, seconds string) Answer {
		a.Header = http.Header{"Retry-After": {seconds}}
		return a
	}
	tests := []struct {
		name string
		in   Answer
		want time.Duration
	}{
		{"of the header", after(status(429, "", "", ""), "7"), 7 * time.Second},
		{"of the message", status(429, "", "", quotaReached), 644 * time.Millisecond},
		{"the longer of both", after(status(429, "", "", quotaReached), "1"), time.Second},
		{"of the message, where the header says 0", after(status(429, "", "", quotaReached), "0"), 644 * time.Millisecond},
		{"of a failed response", failed("rate_limit_exceeded", quotaReached), 644 * time.Millisecond},
		{"of slow_down", after(status(429, "", "slow_down", ""), "9"), 9 * time.Second},
		{"of a failure", after(status(503, "", "", ""), "20"), 20 * time.Second},
		{"none given", status(503, "", "", ""), 0},
		{"none for what never fits", after(status(429, "", "", tooLarge), "7"), 0},
		{"none for a rejected request", after(status(400, "", "", ""), "7"), 0},
		{"none for a refused key", after(status(401, "", "", ""), "7"), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := Classify(tt.in); got.RetryAfter != tt.want {
				t.Errorf("Classify = %+v, want a wait of %v", got, tt.want)
			}
		})
	}
}

func TestClass(t *testing.T) {
	t.Parallel()
	tests := []struct {
		class            Class
		outcome          string
		charged, failure bool
		hold             string
	}{
		{OK, "ok", true, false, ""},
		{RateLimited, "rate_limited", false, false, ""},
		{SlowDown, "rate_limited", false, false, ""},
		{TooLarge, "rejected", true, false, ""},
		{Rejected, "rejected", true, false, ""},
		{Account, "held", false, false, "account"},
		{Credentials, "held", false, false, "credentials"},
		{Configuration, "held", false, false, "configuration"},
		{Failure, "error", true, true, ""},
		{"", "error", true, true, ""},
	}
	for _, tt := range tests {
		if got := tt.class.Outcome(); got != tt.outcome {
			t.Errorf("%s.Outcome() = %s, want %s", tt.class, got, tt.outcome)
		}
		if got := tt.class.Charged(); got != tt.charged {
			t.Errorf("%s.Charged() = %v", tt.class, got)
		}
		if got := tt.class.BreakerFailure(); got != tt.failure {
			t.Errorf("%s.BreakerFailure() = %v", tt.class, got)
		}
		if got := tt.class.HoldReason(); got != tt.hold {
			t.Errorf("%s.HoldReason() = %q, want %q", tt.class, got, tt.hold)
		}
	}
}

func FuzzClassify(f *testing.F) {
	f.Add("status", 429, "tokens", "rate_limit_exceeded", quotaReached, "5")
	f.Add("failed", 200, "", "server_error", tooLarge, "-1")
	f.Add("transport", 0, "insufficient_quota", "", "", "1e400")
	f.Add("status", 401, "sk-type", "sk-code", "Incorrect API key provided: sk-abc", "")
	f.Fuzz(func(t *testing.T, kind string, code int, typ, errCode, message, after string) {
		v := Classify(Answer{
			Kind: Kind(kind), Status: code, Type: typ, Code: errCode, Message: message,
			Header: http.Header{"Retry-After": {after}}, Now: now,
		})
		inBounds(t, v.RetryAfter, true)
		if (v.Class == OK) != (v.Reason == "") {
			t.Errorf("%+v: every class but ok has a reason", v)
		}
		if v.Class == OK && (code < 200 || code > 299) {
			t.Errorf("status %d is %+v", code, v)
		}
		if v.Class.Outcome() == "held" && v.RetryAfter != 0 {
			t.Errorf("%+v: time does not end a hold", v)
		}
		const secret = "sk-"
		if strings.Contains(v.Reason, secret) {
			t.Errorf("%+v: the reason has the provider's words", v)
		}
	})
}
