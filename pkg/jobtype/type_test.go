package jobtype_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/retry"
)

func TestValidateNamesEveryMistake(t *testing.T) {
	t.Parallel()
	bad := jobtype.Type{
		Name: "Bad:Name", Upstream: "a:b", Model: "a b", Models: []string{""}, Priority: 11, MaxAttempts: 101,
		Timeout: time.Millisecond, MaxWait: time.Millisecond, Policy: strings.Repeat("x", jobtype.MaxPolicyBytes+1),
		Request: json.RawMessage(`[]`), Backoff: retry.Backoff{Factor: -1},
	}
	var fields []string
	for _, err := range bad.Validate() {
		fields = append(fields, err.Field)
	}
	want := []string{"name", "priority", "max_attempts", "timeout", "max_wait", "policy", "upstream", "model", "models", "backoff", "request"}
	if !slices.Equal(fields, want) {
		t.Errorf("Validate names %v, want %v", fields, want)
	}
}

func TestValidateBounds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*jobtype.Type)
		ok     bool
	}{
		{"as it is", func(*jobtype.Type) {}, true},
		{"priority 1", func(t *jobtype.Type) { t.Priority = 1 }, true},
		{"priority 10", func(t *jobtype.Type) { t.Priority = 10 }, true},
		{"priority 0", func(t *jobtype.Type) { t.Priority = 0 }, false},
		{"1 attempt", func(t *jobtype.Type) { t.MaxAttempts = 1 }, true},
		{"100 attempts", func(t *jobtype.Type) { t.MaxAttempts = 100 }, true},
		{"no attempts", func(t *jobtype.Type) { t.MaxAttempts = 0 }, false},
		{"the longest timeout", func(t *jobtype.Type) { t.Timeout = jobtype.MaxTimeout }, true},
		{"a longer timeout", func(t *jobtype.Type) { t.Timeout = jobtype.MaxTimeout + 1 }, false},
		{"the longest max_wait", func(t *jobtype.Type) { t.MaxWait = jobtype.MaxMaxWait }, true},
		{"a longer max_wait", func(t *jobtype.Type) { t.MaxWait = jobtype.MaxMaxWait + 1 }, false},
		{"a negative max_wait", func(t *jobtype.Type) { t.MaxWait = -1 }, false},
		{"no upstream", func(t *jobtype.Type) { t.Upstream = "" }, false},
		{"no upstream, custom", func(t *jobtype.Type) { t.Upstream, t.Model, t.Models, t.Custom = "", "", nil, true }, true},
		{"an upstream without a model, custom", func(t *jobtype.Type) { t.Model, t.Custom = "", true }, false},
		{"a model with a colon and a slash", func(t *jobtype.Type) { t.Model = "ft:gpt-4o:org::x/y" }, true},
		{"100 further models", func(t *jobtype.Type) { t.Models = slices.Repeat([]string{"m"}, 100) }, true},
		{"101 further models", func(t *jobtype.Type) { t.Models = slices.Repeat([]string{"m"}, 101) }, false},
		{"a name of 100", func(t *jobtype.Type) { t.Name = strings.Repeat("a", 100) }, true},
		{"a name of 101", func(t *jobtype.Type) { t.Name = strings.Repeat("a", 101) }, false},
		{"a name with a line break", func(t *jobtype.Type) { t.Name = "a\n" }, false},
		{"the longest policy", func(t *jobtype.Type) { t.Policy = strings.Repeat("x", jobtype.MaxPolicyBytes) }, true},
		{"a longer policy", func(t *jobtype.Type) { t.Policy = strings.Repeat("x", jobtype.MaxPolicyBytes+1) }, false},
		{"the longest request", func(t *jobtype.Type) { t.Request = requestOf(jobtype.MaxRequestBytes) }, true},
		{"a longer request", func(t *jobtype.Type) { t.Request = requestOf(jobtype.MaxRequestBytes + 1) }, false},
		{"a request", func(t *jobtype.Type) { t.Request = json.RawMessage(`{"temperature":1}`) }, true},
		{"a request of null", func(t *jobtype.Type) { t.Request = json.RawMessage(`null`) }, false},
		{"a request that streams", func(t *jobtype.Type) { t.Request = json.RawMessage(`{"stream":true}`) }, false},
		{"a request with a model", func(t *jobtype.Type) { t.Request = json.RawMessage(`{"model":"x"}`) }, false},
		{"a request with odd instructions", func(t *jobtype.Type) { t.Request = json.RawMessage(`{"instructions":1}`) }, false},
		{"a request with duplicates", func(t *jobtype.Type) { t.Request = json.RawMessage(`{"a":1,"a":1}`) }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			typ := plain()
			tt.change(&typ)
			if wrong := typ.Validate(); (len(wrong) == 0) != tt.ok {
				t.Errorf("Validate = %v, want ok = %v", wrong, tt.ok)
			}
		})
	}
}

// requestOf is a default request of so many bytes.
func requestOf(bytes int) json.RawMessage {
	const head, tail = `{"metadata":"`, `"}`
	return json.RawMessage(head + strings.Repeat("x", bytes-len(head)-len(tail)) + tail)
}

func TestUpstreamNames(t *testing.T) {
	t.Parallel()
	typ := plain()
	typ.Models = []string{"gpt-5", "gpt-5-mini"}
	if got := typ.UpstreamNames(); !slices.Equal(got, []string{"openai:gpt-5", "openai:gpt-5-mini"}) {
		t.Errorf("UpstreamNames = %v", got)
	}
	if got := custom().UpstreamNames(); got != nil || custom().UpstreamName("x") != "" {
		t.Errorf("a type that is not paced has the upstreams %v", got)
	}
}

func TestSet(t *testing.T) {
	t.Parallel()
	set, err := jobtype.NewSet(plain(), custom())
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := set.Lookup("mail.send"); !ok || !got.Custom {
		t.Errorf("Lookup = %+v, %v", got, ok)
	}
	if _, ok := set.Lookup("nobody"); ok {
		t.Error("an unknown type is found")
	}
	if all := set.All(); len(all) != 2 || all[0].Name != "kb.ingest" || all[1].Name != "mail.send" {
		t.Errorf("All = %+v", all)
	}
	bad := custom()
	bad.Priority = 99
	if _, err := jobtype.NewSet(plain(), plain(), bad); err == nil ||
		!strings.Contains(err.Error(), "kb.ingest: is given twice") || !strings.Contains(err.Error(), "mail.send: priority") {
		t.Errorf("NewSet = %v, want both mistakes", err)
	}
}

func TestBuiltin(t *testing.T) {
	t.Parallel()
	all := jobtype.Builtin(jobtype.BuiltinModel).All()
	if _, err := jobtype.NewSet(all...); err != nil {
		t.Errorf("the built-in types are not valid: %v", err)
	}
	want := []struct {
		name               string
		priority, attempts int
		maxWait            time.Duration
	}{{"autopoietic.tick", 9, 3, 0}, {"diary.entry", 5, 5, 0}, {"kb.ingest", 4, 5, 72 * time.Hour}}
	for i, w := range want {
		got := all[i]
		if got.Name != w.name || got.Priority != w.priority || got.MaxAttempts != w.attempts || got.MaxWait != w.maxWait ||
			got.Timeout != 10*time.Minute || got.UpstreamName(got.Model) != "openai:gpt-5" || got.Request != nil || got.Custom {
			t.Errorf("built in: %+v, want %+v", got, w)
		}
		if got.Policy != jobtype.SelfDiagnostic() {
			t.Errorf("%s has the policy %.40q", got.Name, got.Policy)
		}
	}
}

func TestSelfDiagnosticNamesItsSteps(t *testing.T) {
	t.Parallel()
	text := jobtype.SelfDiagnostic()
	if !strings.HasPrefix(text, "Always run the Self-Diagnostic Framework: ") {
		t.Errorf("it begins %.60q", text)
	}
	at := 0
	for _, word := range []string{"Investigate", "Diagnostic Report", "Fortify", "Corrected Code", "paraphrase", "[INCOMPLETE]"} {
		i := strings.Index(text[at:], word)
		if i < 0 {
			t.Fatalf("%q is missing, or out of order", word)
		}
		at += i
	}
}
