package jobtype_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sluicedev/sluice/pkg/strictjson"
)

func TestBody(t *testing.T) {
	t.Parallel()
	const schema = `{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"number","maximum":1e2}}, "required":["z","a"]}`
	tests := []struct {
		name, policy, defaults, payload, want string
	}{
		{
			name:    "messages become the input, byte by byte",
			payload: `{"messages": [ {"role":"user",  "content":"\u00e9\ud83d\ude00\/"} ]}`,
			want:    `{"model":"gpt-5","input":[ {"role":"user",  "content":"\u00e9\ud83d\ude00\/"} ]}`,
		}, {
			name:    "so does input",
			payload: `{"input":"a\tb"}`,
			want:    `{"model":"gpt-5","input":"a\tb"}`,
		}, {
			name:    "the request keeps its order, its numbers and its escapes",
			payload: `{"input":"a","request":{"temperature":1e2,"text":{"schema":` + schema + `},"metadata":{"k":"\u0041"},"n":12345678901234567890}}`,
			want:    `{"model":"gpt-5","temperature":1e2,"text":{"schema":` + schema + `},"metadata":{"k":"\u0041"},"n":12345678901234567890,"input":"a"}`,
		}, {
			name:    "what else the payload holds is not sent",
			payload: `{"userId":7,"input":"a","temperature":1,"stream":true,"instructions":"x","model":"y"}`,
			want:    `{"model":"gpt-5","input":"a"}`,
		}, {
			name:    "a model that the payload asks for",
			payload: `{"input":"a","request":{"store":false,"model":"gpt-5-mini"}}`,
			want:    `{"model":"gpt-5-mini","store":false,"input":"a"}`,
		}, {
			name:     "defaults fill what the request leaves out",
			defaults: `{"temperature":0.20,"max_output_tokens":1e3}`,
			payload:  `{"input":"a","request":{"top_p":1}}`,
			want:     `{"model":"gpt-5","temperature":0.20,"max_output_tokens":1e3,"top_p":1,"input":"a"}`,
		}, {
			name:     "defaults never override, not even a null",
			defaults: `{"temperature":0.2,"store":true,"instructions":"default"}`,
			payload:  `{"input":"a","request":{"temper\u0061ture":1,"store":null,"instructions":"mine"}}`,
			want:     `{"model":"gpt-5","temperature":1,"store":null,"instructions":"mine","input":"a"}`,
		}, {
			name:    "the policy is the instructions",
			policy:  "Be \"good\".\nAlways.",
			payload: `{"input":"a"}`,
			want:    `{"model":"gpt-5","instructions":"Be \"good\".\nAlways.","input":"a"}`,
		}, {
			name:    "the policy goes in front of the payload's",
			policy:  "Be good.",
			payload: `{"input":"a","request":{"instructions":"Say \u00e9.","store":true}}`,
			want:    `{"model":"gpt-5","store":true,"instructions":"Be good.\n\nSay \u00e9.","input":"a"}`,
		}, {
			name:     "and in front of the type's",
			policy:   "Be good.",
			defaults: `{"instructions":"Be brief."}`,
			payload:  `{"input":"a"}`,
			want:     `{"model":"gpt-5","instructions":"Be good.\n\nBe brief.","input":"a"}`,
		}, {
			name:     "the payload's instructions replace the type's",
			policy:   "Be good.",
			defaults: `{"instructions":"Be brief."}`,
			payload:  `{"input":"a","request":{"instructions":null}}`,
			want:     `{"model":"gpt-5","instructions":"Be good.","input":"a"}`,
		}, {
			name:    "empty instructions add no blank line",
			policy:  "Be good.",
			payload: `{"input":"a","request":{"instructions":""}}`,
			want:    `{"model":"gpt-5","instructions":"Be good.","input":"a"}`,
		}, {
			name:    "without a policy they stay as they are",
			payload: `{"input":"a","request":{"instructions":null}}`,
			want:    `{"model":"gpt-5","instructions":null,"input":"a"}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			typ := plain()
			typ.Policy = tt.policy
			if tt.defaults != "" {
				typ.Request = json.RawMessage(tt.defaults)
			}
			before := tt.payload
			got, err := typ.Body(json.RawMessage(tt.payload))
			if err != nil || string(got) != tt.want {
				t.Errorf("Body = %s, %v\n    want %s", got, err, tt.want)
			}
			if again, _ := typ.Body(json.RawMessage(tt.payload)); string(again) != string(got) || tt.payload != before {
				t.Errorf("the same payload then gives %s", again)
			}
		})
	}
}

// Whatever is accepted makes a body that is one object of names of their own,
// with the input's own bytes in it.
func FuzzBody(f *testing.F) {
	f.Add([]byte(`{"messages":[{"role":"user","content":"\u00e9"}],"request":{"instructions":"a\"b\\","store":null}}`))
	f.Add([]byte(`{"input":"a","request":{"model":"gpt-5-mini","temperature":1e2,"\u0061":1}}`))
	f.Add([]byte(` { "input" : [ 1 ] , "x" : {} } `))
	f.Fuzz(func(t *testing.T, payload []byte) {
		typ := plain()
		typ.Policy = "Be \"good\"."
		typ.Request = json.RawMessage(`{"temperature":0.2,"instructions":"default"}`)
		model, checkErr := typ.Check(payload)
		body, err := typ.Body(payload)
		if (checkErr == nil) != (err == nil) {
			t.Fatalf("Check says %v, Body %v", checkErr, err)
		}
		if err != nil {
			return
		}
		if err := strictjson.Check(body, strictjson.Rules{}); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		members, err := strictjson.Members(body)
		if err == nil {
			err = strictjson.Unique("", members)
		}
		if err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		var sent struct{ Model, Instructions string }
		if err := json.Unmarshal(body, &sent); err != nil || sent.Model != model {
			t.Errorf("%s: model %q, want %q (%v)", body, sent.Model, model, err)
		}
		if !strings.HasPrefix(sent.Instructions, typ.Policy) {
			t.Errorf("%s: the policy is not in front", body)
		}
	})
}
