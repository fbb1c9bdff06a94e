package jobtype_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sluicedev/sluice/pkg/jobtype"
)

func TestCost(t *testing.T) {
	t.Parallel()
	plain := jobtype.Type{Name: "ask", Upstream: "openai", Model: "gpt-5"}
	thrifty := plain
	thrifty.Request = json.RawMessage(`{"max_output_tokens": 300}`)
	wordy := plain
	wordy.Policy = strings.Repeat("x", 4000)
	for _, c := range []struct {
		name    string
		of      jobtype.Type
		payload string
		want    float64
	}{
		{"a quarter of the characters", plain, `{"input":"` + strings.Repeat("é", 398) + `"}`, 100},
		{"max_output_tokens where it is more", plain, `{"input":"hello","request":{"max_output_tokens":2000}}`, 2000},
		{"the type's own", thrifty, `{"input":"hello"}`, 300},
		{"the payload's wins", thrifty, `{"input":"hello","request":{"max_output_tokens":20}}`, 20},
		{"the policy and the instructions count", wordy, `{"input":"xx","request":{"instructions":"xx"}}`, 1002},
		{"never nothing", plain, `{"input":"x"}`, 1},
		{"one that will be refused", plain, `{}`, 1},
	} {
		if got := c.of.Cost(json.RawMessage(c.payload)).Charge(); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	for _, unknown := range []jobtype.Cost{plain.Cost(json.RawMessage(`{}`)), jobtype.Type{Name: "own", Custom: true}.Cost(json.RawMessage(`{}`))} {
		if unknown != (jobtype.Cost{}) {
			t.Errorf("of a request that nobody knows: %+v", unknown)
		}
	}
}
