package jobtype_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/strictjson"
)

func plain() jobtype.Type {
	return jobtype.Type{
		Name: "kb.ingest", Upstream: "openai", Model: "gpt-5", Models: []string{"gpt-5-mini"},
		Priority: 5, MaxAttempts: 5, Timeout: jobtype.DefaultTimeout,
	}
}

func custom() jobtype.Type {
	return jobtype.Type{Name: "mail.send", Custom: true, Priority: 5, MaxAttempts: 5, Timeout: jobtype.DefaultTimeout}
}

func TestCheckAccepts(t *testing.T) {
	t.Parallel()
	for payload, model := range map[string]string{
		`{"messages":[{"role":"user","content":"hi"}]}`: "gpt-5",
		`{"input":"hi"}`:                                                            "gpt-5",
		`{"input":" "}`:                                                             "gpt-5",
		` {"input" : [ 1 ] } `:                                                      "gpt-5",
		`{"input":"hi","request":{}}`:                                               "gpt-5",
		`{"input":"hi","request":{"model":"gpt-5"}}`:                                "gpt-5",
		`{"input":"hi","request":{"model":"gpt-5-mini"}}`:                           "gpt-5-mini",
		`{"input":"hi","request":{"m\u006fdel":"gpt-5-m\u0069ni"}}`:                 "gpt-5-mini",
		`{"input":"hi","request":{"temperature":"hot","tools":[],"x":null}}`:        "gpt-5",
		`{"input":"hi","request":{"instructions":null}}`:                            "gpt-5",
		`{"input":"hi","userId":1,"stream":true,"model":7,"userId":2}`:              "gpt-5",
		`{"input":"hi","request":{"text":{"input":1,"stream":2,"a":3,"a":4}}}`:      "gpt-5",
		`{"input":` + strings.Repeat("[", 99) + "1" + strings.Repeat("]", 99) + `}`: "gpt-5",
	} {
		if got, err := plain().Check(json.RawMessage(payload)); err != nil || got != model {
			t.Errorf("Check(%.80s) = %q, %v, want %q", payload, got, err, model)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ payload, field, message string }{
		{``, "payload", "empty"},
		{`[]`, "payload", "must be an object"},
		{`"hi"`, "payload", "must be an object"},
		{`null`, "payload", "must be an object"},
		{`{}`, "payload", "must have messages or input"},
		{`{"userId":1}`, "payload", "must have messages or input"},
		{`{"messages":[1],"input":"hi"}`, "payload", "not both"},
		{`{"messages":null,"input":"hi"}`, "payload", "not both"},
		{`{"messages":[]}`, "payload.messages", "not empty"},
		{`{"messages":[ ]}`, "payload.messages", "not empty"},
		{`{"messages":"hi"}`, "payload.messages", "array"},
		{`{"messages":null}`, "payload.messages", "array"},
		{`{"input":""}`, "payload.input", "not empty"},
		{`{"input":[]}`, "payload.input", "not empty"},
		{`{"input":{}}`, "payload.input", "string or an array"},
		{`{"input":7}`, "payload.input", "string or an array"},
		{`{"input":"a","input":"b"}`, "payload.input", "twice"},
		{`{"input":"a","request":{},"request":{}}`, "payload.request", "twice"},
		{`{"input":"a","request":[]}`, "payload.request", "must be an object"},
		{`{"input":"a","request":null}`, "payload.request", "must be an object"},
		{`{"input":"a","request":{"input":"b"}}`, "payload.request.input", "must not be set"},
		{`{"input":"a","request":{"messages":[]}}`, "payload.request.messages", "must not be set"},
		{`{"input":"a","request":{"stream":false}}`, "payload.request.stream", "must not be set"},
		{`{"input":"a","request":{"background":true}}`, "payload.request.background", "must not be set"},
		{`{"input":"a","request":{"str\u0065am":true}}`, "payload.request.stream", "must not be set"},
		{`{"input":"a","request":{"model":"gpt-4"}}`, "payload.request.model", "gpt-5, gpt-5-mini"},
		{`{"input":"a","request":{"model":null}}`, "payload.request.model", "string"},
		{`{"input":"a","request":{"x":1,"x":1}}`, "payload.request.x", "twice"},
		{`{"input":"a","request":{"instructions":["x"]}}`, "payload.request.instructions", "string"},
		{`{"messages":[{"content":"\u0000"}]}`, "payload.messages[0].content", `\u0000`},
		{`{"messages":[{"content":"\ud800"}]}`, "payload.messages[0].content", "surrogate"},
		{`{"input":"a","userId":1e400}`, "payload.userId", "floating-point"},
		{`{"input":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "payload.input" + strings.Repeat("[0]", 99), "100 levels"},
		{`{"input":"` + strings.Repeat("a", jobtype.MaxPayloadBytes) + `"}`, "payload", "1048576 bytes"},
	}
	for _, tt := range tests {
		_, err := plain().Check(json.RawMessage(tt.payload))
		var e *strictjson.Error
		if !errors.As(err, &e) || e.Field != tt.field || !strings.Contains(e.Message, tt.message) {
			t.Errorf("Check(%.80s) = %v, want field %s, ...%s...", tt.payload, err, tt.field, tt.message)
		}
		if _, bodyErr := plain().Body(json.RawMessage(tt.payload)); bodyErr == nil {
			t.Errorf("Body(%.80s) makes a request of what Check refuses", tt.payload)
		}
	}
}

func TestPayloadOfExactlyTheLimit(t *testing.T) {
	t.Parallel()
	const frame = `{"input":""}`
	payload := `{"input":"` + strings.Repeat("a", jobtype.MaxPayloadBytes-len(frame)) + `"}`
	if _, err := plain().Check(json.RawMessage(payload)); err != nil || len(payload) != jobtype.MaxPayloadBytes {
		t.Errorf("%d bytes: %v", len(payload), err)
	}
}

func TestCustomTakesAnyObject(t *testing.T) {
	t.Parallel()
	for _, payload := range []string{`{}`, `{"messages":1,"input":2,"request":{"a":1,"a":2,"stream":true}}`} {
		if _, err := custom().Check(json.RawMessage(payload)); err != nil {
			t.Errorf("Check(%s) = %v", payload, err)
		}
	}
	for _, payload := range []string{`[]`, `1`, `{"a":"\u0000"}`, `{"a":1e400}`} {
		if _, err := custom().Check(json.RawMessage(payload)); err == nil {
			t.Errorf("Check(%s) is accepted", payload)
		}
	}
	if _, err := custom().Body(json.RawMessage(`{"input":"a"}`)); err == nil {
		t.Error("a custom type has a body")
	}
}
