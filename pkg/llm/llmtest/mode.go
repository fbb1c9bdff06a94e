package llmtest

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// behaviour is what a mode does to a call. Exactly one of refusal, body and stream is set; none of them is healthy.
type behaviour struct {
	refusal *refusal // an HTTP error
	body    *body    // any other answer, verbatim
	stream  ending   // an answer that starts well
}

// ending is how an accepted call ends otherwise than by response.completed.
type ending string

const (
	endReset       ending = "reset"        // the connection is reset before a byte is sent
	endHang        ending = "hang"         // no byte is ever sent
	endHangStream  ending = "hang_stream"  // the stream stops moving after CutAfter events
	endCut         ending = "cut"          // the stream ends, cleanly, after CutAfter events
	endResetStream ending = "reset_stream" // the connection is reset after CutAfter events
	endFailed      ending = "failed"       // status failed, code server_error
	endFailedQuota ending = "failed_quota" // status failed, code rate_limit_exceeded
	endIncomplete  ending = "incomplete"   // status incomplete, reason max_output_tokens
	endErrorEvent  ending = "error_event"  // an event of type error after CutAfter events
	endStreamError ending = "stream_error" // {"error":{...}} without a type after CutAfter events
)

// refusal is an error in OpenAI's own shape.
type refusal struct {
	status                          int
	errorType, code, param, message string
	retryAfter                      string
}

// body is an answer that is not in OpenAI's shape.
type body struct {
	status            int
	contentType, text string
}

const (
	quotaMessage  = "You exceeded your current quota, please check your plan and billing details."
	maskedKeyEcho = "Incorrect API key provided: sk-proj-********************wxyz. You can find your API key at https://platform.openai.com/account/api-keys."
	htmlPage      = "<html><head><title>502 Bad Gateway</title></head><body><center>cloudflare</center></body></html>"
)

// modes are all named modes. The type-only and code-only forms of an empty account are both seen in the wild.
var modes = map[string]behaviour{
	"healthy": {},

	"rate_limited":           {refusal: &refusal{status: 429, errorType: "requests", code: "rate_limit_exceeded", message: "Rate limit reached for requests. Please try again in 1s.", retryAfter: "1"}},
	"slow_down":              {refusal: &refusal{status: 429, errorType: "rate_limit_error", code: "slow_down", message: "Your request rate rose too fast. Slow down and increase it gradually.", retryAfter: "5"}},
	"resource_unavailable":   {refusal: &refusal{status: 429, errorType: "resource_unavailable", code: "resource_unavailable", message: "Resource Unavailable: no flex capacity at present."}},
	"out_of_credit":          {refusal: &refusal{status: 429, errorType: "insufficient_quota", code: "insufficient_quota", message: quotaMessage}},
	"out_of_credit_type":     {refusal: &refusal{status: 429, errorType: "insufficient_quota", message: quotaMessage}},
	"out_of_credit_code":     {refusal: &refusal{status: 429, code: "insufficient_quota", message: quotaMessage}},
	"out_of_credit_specific": {refusal: &refusal{status: 429, errorType: "insufficient_quota", code: "credit_balance_exhausted", message: "Your credit balance is exhausted."}},
	"spend_limit":            {refusal: &refusal{status: 429, errorType: "insufficient_quota", code: "organization_spend_limit_exceeded", message: "Your organization has reached its spend limit."}},
	"billing":                {refusal: &refusal{status: 429, errorType: "billing_not_active", code: "billing_not_active", message: "Your account is not active, please check your billing details."}},
	"payment_required":       {refusal: &refusal{status: 402, errorType: "invalid_request_error", code: "payment_required", message: "Insufficient balance."}},
	"bad_key":                {body: &body{401, "text/plain; charset=utf-8", maskedKeyEcho}},
	"forbidden":              {refusal: &refusal{status: 403, errorType: "invalid_request_error", code: "unsupported_country_region_territory", message: "Country, region, or territory not supported."}},
	"model_not_found":        {refusal: &refusal{status: 404, errorType: "invalid_request_error", code: "model_not_found", param: "model", message: "The requested model does not exist or you do not have access to it."}},
	"bad_request":            {refusal: statusRefusal(400)},

	"down":         {refusal: &refusal{status: 503, errorType: "service_unavailable_error", code: "server_is_overloaded", message: "The server is currently overloaded. Please try again later."}},
	"error":        {refusal: statusRefusal(500)},
	"empty":        {body: &body{503, "", ""}},
	"string_error": {body: &body{503, "application/json", `{"error":"overloaded"}`}},
	"html_error":   {body: &body{502, "text/html", htmlPage}},
	"html":         {body: &body{200, "text/html", htmlPage}},
	"truncated":    {body: &body{200, "application/json", `{"id":"resp_1","object":"response","status":"comp`}},

	string(endReset):       {stream: endReset},
	string(endHang):        {stream: endHang},
	string(endHangStream):  {stream: endHangStream},
	string(endCut):         {stream: endCut},
	string(endResetStream): {stream: endResetStream},
	string(endFailed):      {stream: endFailed},
	string(endFailedQuota): {stream: endFailedQuota},
	string(endIncomplete):  {stream: endIncomplete},
	string(endErrorEvent):  {stream: endErrorEvent},
	string(endStreamError): {stream: endStreamError},
}

// Modes are the names of all modes, sorted.
func Modes() []string { return slices.Sorted(maps.Keys(modes)) }

func behaviourOf(mode string) (behaviour, error) {
	if mode == "" {
		return behaviour{}, nil
	}
	if b, ok := modes[mode]; ok {
		return b, nil
	}
	if status, err := strconv.Atoi(mode); err == nil && status >= 400 && status <= 599 {
		return behaviour{refusal: statusRefusal(status)}, nil
	}
	return behaviour{}, fmt.Errorf("unknown mode %q: it is an HTTP status from 400 to 599 or one of %s", mode, strings.Join(Modes(), ", "))
}

// statusRefusal is an error with a status and nothing special.
func statusRefusal(status int) *refusal {
	if status >= http.StatusInternalServerError {
		return &refusal{status: status, errorType: "server_error", code: "server_error",
			message: "The server had an error while processing your request. Sorry about that!"}
	}
	return &refusal{status: status, errorType: "invalid_request_error", code: "invalid_value", param: "input",
		message: fmt.Sprintf("The simulator was told to refuse this request with %d.", status)}
}
