package llm_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/sluicedev/sluice/pkg/llm"
)

const key = "local.9f8e7d6c5b4a3210wxyz" // looks like no known key: only its owner can recognise it

func TestRedact(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, want string }{
		"whole key":          {"key sk-proj-abcDEF123_456-xyz is bad", "key [redacted] is bad"},
		"masked echo":        {"Incorrect API key provided: sk-proj-********************abcd. You can find", "Incorrect API key provided: [redacted]. You can find"},
		"shortened echo":     {"bad sk-abcd1234...wxyz, sorry", "bad [redacted], sorry"},
		"masked, no prefix":  {"your 12ab34cd****9876 failed", "your [redacted] failed"},
		"bearer":             {`{"authorization":"Bearer abc.def"}`, `{"authorization":"Bearer [redacted]"}`},
		"key in JSON":        {`{"api_key": "zzz999"}`, `{"api_key": "[redacted]"}`},
		"own key":            {"got " + key + "!", "got [redacted]!"},
		"own key, shortened": {"got local.9f...wxyz, no", "got [redacted], no"},
		"own key, echoed":    {"Incorrect API key provided: local.9f*******wxyz. See", "Incorrect API key provided: [redacted]. See"},
		"own key, twice":     {key + " " + key, "[redacted] [redacted]"},
		"user info in a URL": {"dial https://me:pw@host/v1", "dial https://[redacted]@host/v1"},
		"ordinary words stay": {"Rate limit reached for gpt-5 in organization org-abc123 on tokens per min (TPM): the task-force, disk-usage",
			"Rate limit reached for gpt-5 in organization org-abc123 on tokens per min (TPM): the task-force, disk-usage"},
	} {
		if got := llm.Redact(c.in, key, "none"); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestErrorIsASentenceWithTheProvidersWords(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]llm.Error{
		"the provider refused the call with 429 Too Many Requests: You exceeded your quota. (insufficient_quota)": {
			Kind: llm.Refused, Status: 429, Type: "insufficient_quota", Message: "You exceeded your quota."},
		"the provider refused the call with 529":                           {Kind: llm.Refused, Status: 529},
		"the provider accepted the call and then failed it: no (code)":     {Kind: llm.Failed, Status: 200, Type: "type", Code: "code", Message: "no"},
		"the provider answered 200 OK with a body that is no answer: HTML": {Kind: llm.Malformed, Status: 200, Message: "HTML"},
		"the provider could not be reached: connection refused":            {Kind: llm.Transport, Message: "connection refused"},
		"the call cannot be sent: the body is not a JSON object":           {Kind: llm.Invalid, Message: "the body is not a JSON object"},
		"the call timed out":                  {Kind: llm.Timeout},
		"the call was cancelled":              {Kind: llm.Canceled},
		"the provider's answer was cut short": {Kind: llm.Cut},
		"the call failed":                     {},
	} {
		if got := e.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestNewErrorMakesAllTextStorable(t *testing.T) {
	t.Parallel()
	dirty := "\x00" + key + " " + strings.Repeat("x", 20_000)
	e := llm.NewError(llm.Error{Type: dirty, Code: dirty, Param: dirty, RequestID: dirty, Message: dirty, Body: dirty, Err: io.ErrUnexpectedEOF}, key)
	for name, c := range map[string]struct {
		text  string
		bytes int
	}{
		"type": {e.Type, 200}, "code": {e.Code, 200}, "param": {e.Param, 200}, "id": {e.RequestID, 200},
		"message": {e.Message, 2 << 10}, "body": {e.Body, 8 << 10},
	} {
		if len(c.text) != c.bytes || strings.Contains(c.text, "\x00") || strings.Contains(c.text, key) || !strings.Contains(c.text, "[cut: ") {
			t.Errorf("%s is not fit to be stored: %.80q… (%d bytes)", name, c.text, len(c.text))
		}
	}
	if !errors.Is(e, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
}
