package config_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/config"
	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/retry"
)

const example = `
upstreams:
  openai: {kind: openai, base_url: "https://api.openai.com/v1", api_key_env: OPENAI_API_KEY}
policies:
  self-diagnostic: |   # built in
    Always run the Self-Diagnostic Framework: ...
types:
  kb.ingest:        {upstream: openai, model: gpt-5, priority: 4, max_attempts: 5, timeout: 10m, max_wait: 72h, policy: self-diagnostic}
  diary.entry:      {upstream: openai, model: gpt-5, priority: 5}
  autopoietic.tick: {upstream: openai, model: gpt-5, priority: 9, max_attempts: 3}
`

func load(t *testing.T, yaml string, pairs ...string) (config.WorkerConfig, error) {
	t.Helper()
	return config.Worker(with(append(pairs, "SLUICE_CONFIG", write(t, "sluice.yaml", yaml))...))
}

func mustLoad(t *testing.T, yaml string, pairs ...string) config.WorkerConfig {
	t.Helper()
	cfg, err := load(t, yaml, pairs...)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func lookup(t *testing.T, cfg config.WorkerConfig, name string) jobtype.Type {
	t.Helper()
	typ, ok := cfg.Types.Lookup(name)
	if !ok {
		t.Fatalf("there is no type %s", name)
	}
	return typ
}

func TestExampleIsWhatIsBuiltIn(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, example)
	for _, want := range jobtype.Builtin("gpt-5").All() {
		want.Policy = "Always run the Self-Diagnostic Framework: ..."
		if got := lookup(t, cfg, want.Name); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	want := config.Upstream{Name: "openai", Kind: "openai", BaseURL: "https://api.openai.com/v1", APIKeyEnv: "OPENAI_API_KEY", APIKey: key}
	if got := cfg.Upstreams["openai"]; got != want {
		t.Errorf("upstream %+v", got)
	}
}

func TestFilesWithNothingInThem(t *testing.T) {
	t.Parallel()
	for _, yaml := range []string{"", "# nothing\n", "types:\n", "types: {}\nupstreams: {}\npolicies: {}\n", "upstreams: {openai: }\n"} {
		if got := len(mustLoad(t, yaml).Types.All()); got != 3 {
			t.Errorf("%q: %d types, want the three that are built in", yaml, got)
		}
	}
}

func TestTheFileWins(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, `
version: 7
upstreams:
  openai: {base_url: "http://127.0.0.1:1/v1"}
types:
  kb.ingest: {model: gpt-5-mini}
  chat: {}
`, "OPENAI_BASE_URL", "http://127.0.0.1:2/v1", "OPENAI_MODEL", "gpt-6")
	if cfg.TypesVersion != 7 {
		t.Errorf("version %d", cfg.TypesVersion)
	}
	if got := cfg.Upstreams["openai"]; got.BaseURL != "http://127.0.0.1:1/v1" || got.APIKey != key {
		t.Errorf("upstream %+v", got)
	}
	// An entry stands for itself: what it leaves out takes the defaults.
	if got := lookup(t, cfg, "kb.ingest"); got.Model != "gpt-5-mini" || got.Priority != 5 || got.MaxWait != 0 || got.Policy != jobtype.SelfDiagnostic() {
		t.Errorf("kb.ingest %+v", got)
	}
	if got := lookup(t, cfg, "chat"); got.Model != "gpt-6" || got.Upstream != "openai" || got.MaxAttempts != 5 || got.Timeout != 10*time.Minute {
		t.Errorf("chat %+v", got)
	}
	if got := lookup(t, cfg, "diary.entry"); got.Model != "gpt-6" {
		t.Errorf("diary.entry %+v", got)
	}
}

func TestOpenAIVariablesFillWhatTheFileLeavesOut(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, "upstreams:\n  openai: {kind: openai}\n  local: {base_url: 'http://localhost:1/v1'}\n", "OPENAI_BASE_URL", "http://127.0.0.1:2/v1")
	if got := cfg.Upstreams["openai"].BaseURL; got != "http://127.0.0.1:2/v1" {
		t.Errorf("openai is at %s", got)
	}
	if got := cfg.Upstreams["local"]; got.BaseURL != "http://localhost:1/v1" || got.APIKey != "" {
		t.Errorf("local %+v", got)
	}
}

func TestEveryKeyOfAType(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, `
upstreams:
  local: {kind: openai, base_url: "http://127.0.0.1:8000/v1", api_key_env: LOCAL_KEY}
policies:
  brief: |
    Be brief.
    Always.
types:
  chat:
    upstream: local
    model: llama-3/8b
    models: [llama-3/70b]
    priority: 1
    max_attempts: 100
    timeout: 1h30m
    max_wait: 24h
    policy: brief
    temperature: 0.2
    max_output_tokens: 4096
    request:
      store: false
      text: {format: {type: json_schema, schema: {z: 1, a: {"$ref": "#/é<>"}, m: [1, 2.5, null, "x", {}, []]}}}
    backoff: {base: 1s, factor: 3, cap: 2m, jitter: full}
  mail.send: {handler: custom}
  mail.read: {handler: custom, upstream: local, model: x, policy: brief}
  quiet: {policy: none}
`, "LOCAL_KEY", "local")
	chat := lookup(t, cfg, "chat")
	if chat.UpstreamName(chat.Model) != "local:llama-3/8b" || len(chat.Models) != 1 || chat.Models[0] != "llama-3/70b" || chat.Priority != 1 ||
		chat.MaxAttempts != 100 || chat.Timeout != 90*time.Minute || chat.MaxWait != 24*time.Hour || chat.Policy != "Be brief.\nAlways." || chat.Custom {
		t.Errorf("chat %+v", chat)
	}
	const request = `{"temperature":0.2,"max_output_tokens":4096,"store":false,` +
		`"text":{"format":{"type":"json_schema","schema":{"z":1,"a":{"$ref":"#/é<>"},"m":[1,2.5,null,"x",{},[]]}}}}`
	if string(chat.Request) != request {
		t.Errorf("request %s\nwant    %s", chat.Request, request)
	}
	if want := (retry.Backoff{Base: time.Second, Factor: 3, Cap: 2 * time.Minute, Jitter: retry.Full}); chat.Backoff != want {
		t.Errorf("backoff %+v", chat.Backoff)
	}
	if got := cfg.Upstreams["local"].APIKey.Reveal(); got != "local" {
		t.Errorf("key %q", got)
	}
	if got := lookup(t, cfg, "mail.send"); !got.Custom || got.Upstream != "" || got.Policy != "" {
		t.Errorf("mail.send %+v", got)
	}
	if got := lookup(t, cfg, "mail.read"); !got.Custom || got.UpstreamName(got.Model) != "local:x" || got.Policy != "Be brief.\nAlways." {
		t.Errorf("mail.read %+v", got)
	}
	if got := lookup(t, cfg, "quiet"); got.Policy != "" {
		t.Errorf("quiet %+v", got)
	}
}

func TestFullJitterIsOneKeyAway(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, "types:\n  chat: {backoff: {jitter: full}}\n")
	if got := lookup(t, cfg, "chat").Backoff.WithDefaults(); got.Cap != 30*time.Second || got.Factor != 2 {
		t.Errorf("backoff %+v", got)
	}
}

// Who uses no OpenAI needs no key for it.
func TestNullRemovesABuiltInType(t *testing.T) {
	t.Parallel()
	file := write(t, "sluice.yaml", `
upstreams: {local: {base_url: "http://localhost:1/v1"}}
types:
  kb.ingest:
  diary.entry: null
  autopoietic.tick: ~
  chat: {upstream: local, model: m}
`)
	cfg, err := config.Worker(without("OPENAI_API_KEY", "SLUICE_CONFIG", file))
	if err != nil || len(cfg.Types.All()) != 1 || cfg.Upstreams["local"].APIKey == "" {
		t.Errorf("%+v, %v", cfg, err)
	}
}

func TestAnchorsAndMerges(t *testing.T) {
	t.Parallel()
	cfg := mustLoad(t, "types:\n  a: &base {priority: 2, max_attempts: 7}\n  b:\n    <<: *base\n    priority: 3\n")
	if got := lookup(t, cfg, "b"); got.Priority != 3 || got.MaxAttempts != 7 {
		t.Errorf("b %+v", got)
	}
}

func TestKeysOfOtherUpstreams(t *testing.T) {
	t.Parallel()
	const yaml = "upstreams: {far: {base_url: 'https://llm.example/v1', api_key_env: SLUICE_FAR_KEY}}\n"
	// A variable that the file names is a setting, whatever its name.
	if got := mustLoad(t, yaml, "SLUICE_FAR_KEY", "abc").Upstreams["far"].APIKey.Reveal(); got != "abc" {
		t.Errorf("key %q", got)
	}
	if got := mustLoad(t, yaml, "SLUICE_FAR_KEY_FILE", write(t, "key", "def\n")).Upstreams["far"].APIKey.Reveal(); got != "def" {
		t.Errorf("key of a file %q", got)
	}
	if got := mustLoad(t, yaml).Upstreams["far"].APIKey; got != "" {
		t.Errorf("key %q of an upstream that nobody uses", got)
	}
	_, err := load(t, yaml+"types: {chat: {upstream: far, model: m}}\n")
	wantMistake(t, err, "SLUICE_FAR_KEY: is not set", "type chat uses the upstream far")
	_, err = load(t, "upstreams: {far: {base_url: 'https://llm.example/v1'}}\ntypes: {chat: {upstream: far, model: m}}\n")
	wantMistake(t, err, "upstreams.far.api_key_env: is not set", "type chat")
	mustLoad(t, yaml+"types: {chat: {handler: custom, upstream: far, model: m}}\n") // its Go code brings its own key
}

func TestTheAPIResolvesNoKeys(t *testing.T) {
	t.Parallel()
	file := write(t, "sluice.yaml", example)
	cfg, err := config.API(with("SLUICE_CONFIG", file))
	if err != nil || cfg.Upstreams["openai"].APIKey != "" {
		t.Errorf("key %q, %v", cfg.Upstreams["openai"].APIKey.Reveal(), err)
	}
}

func TestWebhooksOfTenants(t *testing.T) {
	t.Parallel()
	const yaml = "webhooks:\n  acme: {url: 'https://acme.example/hook?a=b', secret_env: SLUICE_ACME_SECRET}\n  globex: {url: 'http://globex.example:8080/'}\n  initech: {secret_env: INITECH}\n"
	cfg := mustLoad(t, yaml, "SLUICE_WEBHOOK_SECRET", secretA, "SLUICE_ACME_SECRET", secretB, "INITECH_FILE", write(t, "s", secretB+" "+secretA+"\n"))
	want := map[string]config.TenantWebhooks{
		"acme":    {URL: "https://acme.example/hook?a=b", SecretEnv: "SLUICE_ACME_SECRET", Secrets: secretB},
		"globex":  {URL: "http://globex.example:8080/"},
		"initech": {SecretEnv: "INITECH", Secrets: secretB + " " + secretA},
	}
	if !maps.Equal(cfg.Webhooks, want) {
		t.Errorf("webhooks %+v", cfg.Webhooks)
	}
	mustLoad(t, "webhooks: {acme: {url: 'http://a.example/"+strings.Repeat("x", 2031)+"'}}\n", "SLUICE_WEBHOOK_SECRET", secretA) // the longest
	_, err := load(t, "webhooks: {globex: {url: 'http://globex.example/'}}\n")
	wantMistake(t, err, "webhooks.globex.secret_env: is not set, and neither is SLUICE_WEBHOOK_SECRET")
	_, err = load(t, "webhooks: {acme: {secret_env: ACME, secret: x}}\n", "ACME", secretA)
	wantMistake(t, err, "webhooks.acme.secret: is not a key here; the keys are url, secret_env")
	_, err = load(t, "webhooks: {acme: {secret_env: ACME}}\n")
	wantMistake(t, err, "ACME: is not set", "the tenant acme", "ACME_FILE")
	_, err = load(t, "webhooks: {acme: {secret_env: ACME}}\n", "ACME", "whsec_dG9wc2VjcmV0")
	wantMistake(t, err, "ACME: must be 1 to 5 secrets")
	api, err := config.API(with("SLUICE_CONFIG", write(t, "sluice.yaml", yaml)))
	if err != nil || api.Webhooks["acme"].Secrets != "" {
		t.Errorf("the API resolved a secret, or not: %v", err)
	}
}

func TestSecretsOfWebhooks(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{"dG9wc2VjcmV0LXRvcHNlY3JldC1B", "whsec_", "whsec_dG9wc2VjcmV0", "whsec_dG9wc2VjcmV0=!", secretA + " x",
		",", strings.Repeat(secretA+" ", 6), "whsec_" + strings.Repeat("dG9wc2VjcmV0", 8)} {
		_, err := load(t, "", "SLUICE_WEBHOOK_SECRET", wrong)
		wantMistake(t, err, "SLUICE_WEBHOOK_SECRET: must be 1 to 5 secrets")
	}
	if got := mustLoad(t, "", "SLUICE_WEBHOOK_SECRET", strings.Repeat(secretA+" ", 5)).WebhookSecrets; got == "" {
		t.Error("five secrets are not taken")
	}
}

func TestMistakesOfTheFile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, yaml, want string }{
		{"no YAML", "a: [1\n", ":1: "},
		{"a key twice", "types: {}\ntypes: {}\n", ":2: "},
		{"an alias of nothing", "types: *x\n", ":1: "},
		{"a list", "- 1\n", "must be a mapping"},
		{"two documents", "version: 1\n---\nversion: 2\n", "one document"},
		{"no UTF-8", "version: \xff\n", "UTF-8"},
		{"an unknown key", "\nupstream: {}\n", ":2: upstream: is not a key here; the keys are version, upstreams"},
		{"an unknown key of a type", "types:\n  a:\n    prioritty: 1\n", ":3: types.a.prioritty: is not a key"},
		{"an unknown key of an upstream", "upstreams:\n  openai:\n    api_key: sk-topsecret\n", ":3: upstreams.openai.api_key: is not a key"},
		{"an unknown key of a backoff", "types: {a: {backoff: {max: 1s}}}\n", "types.a.backoff.max: is not a key"},
		{"a version of text", "version: x\n", `version: is "x", must be a whole number`},
		{"a version below 0", "version: -1\n", "version: is -1"},
		{"types of text", "types: x\n", "types: must be a mapping"},
		{"a type of text", "types: {a: x}\n", "types.a: must be a mapping"},
		{"a type's name", "types: {A: {}}\n", "types.A: is no name for a type"},
		{"a type's colon", "types: {'a:b': {}}\n", "types.a:b: is no name for a type"},
		{"a priority", "types: {a: {priority: 11}}\n", "types.a.priority: is 11, must be 1 to 10"},
		{"a priority of text", "types: {a: {priority: high}}\n", `types.a.priority: is "high", must be a whole number`},
		{"attempts", "types: {a: {max_attempts: 0}}\n", "types.a.max_attempts: is 0, must be 1 to 100"},
		{"a timeout", "types: {a: {timeout: 25h}}\n", `types.a.timeout: is "25h", must be 1s to 24h`},
		{"a timeout without a unit", "types: {a: {timeout: 600}}\n", "types.a.timeout: is 600, must be a duration with its unit"},
		{"a wait", "types: {a: {max_wait: -1s}}\n", `types.a.max_wait: is "-1s", must be`},
		{"a model", "types: {a: {model: 'a b'}}\n", `types.a.model: is "a b", must be a model's name`},
		{"a model of a list", "types: {a: {model: [x]}}\n", "types.a.model: must be text"},
		{"models of text", "types: {a: {models: x}}\n", "types.a.models: must be a list"},
		{"no model", "upstreams: {l: {base_url: 'http://localhost/v1'}}\ntypes: {a: {upstream: l}}\n", "types.a.model: is not set, must be a model's name"},
		{"an upstream", "types: {a: {upstream: azure, model: x, handler: custom}}\n", `types.a.upstream: is "azure", must be one of openai`},
		{"a policy", "types: {a: {policy: strict}}\n", `types.a.policy: is "strict", must be none or one of self-diagnostic`},
		{"a policy called none", "policies: {none: x}\n", "policies.none: is the word"},
		{"a policy of nothing", "policies: {x: ''}\n", "policies.x: must be text"},
		{"a handler", "types: {a: {handler: go}}\n", "types.a.handler: must be custom"},
		{"a temperature", "types: {a: {temperature: 3}}\n", "types.a.temperature: is 3, must be 0 to 2"},
		{"tokens", "types: {a: {max_output_tokens: 0}}\n", "types.a.max_output_tokens: is 0"},
		{"a field twice", "types: {a: {temperature: 1, request: {temperature: 1}}}\n", "types.a.request.temperature: is set"},
		{"a request of a list", "types: {a: {request: [1]}}\n", "types.a.request: must be a mapping"},
		{"a request that streams", "types: {a: {request: {stream: true}}}\n", "types.a.request.stream: must not be set"},
		{"a request with a model", "types: {a: {request: {model: x}}}\n", "types.a.request.model: must not be set"},
		{"a request without end", "types: {a: {request: {x: .inf}}}\n", "types.a.request: cannot be sent as JSON"},
		{"a backoff", "types: {a: {backoff: {factor: 0.5}}}\n", "types.a.backoff: factor must be 1 to 100"},
		{"a jitter", "types: {a: {backoff: {jitter: half}}}\n", `types.a.backoff.jitter: is "half", must be additive or full`},
		{"an upstream's name", "upstreams: {'a:b': {base_url: 'http://localhost/v1'}}\n", "upstreams.a:b: is no name for an upstream"},
		{"an upstream's kind", "upstreams: {a: {kind: bedrock, base_url: 'http://localhost/v1'}}\n", `upstreams.a.kind: is "bedrock", must be openai`},
		{"an upstream's URL", "upstreams: {a: {base_url: 'localhost:80'}}\n", `upstreams.a.base_url: is "localhost:80", must be an absolute`},
		{"no URL", "upstreams: {a: {}}\n", "upstreams.a: must have a base_url"},
		{"a password in a URL", "upstreams: {a: {base_url: 'http://u:hunter2@localhost/v1'}}\n", "upstreams.a.base_url: is"},
		{"a key in a URL", "upstreams: {a: {base_url: 'http://localhost/v1?key=topsecret'}}\n", "upstreams.a.base_url: is"},
		{"a tenant with nothing", "webhooks: {acme: {}}\n", "webhooks.acme: must have a url"},
		{"a webhook's URL", "webhooks: {acme: {url: 'acme.example'}}\n", `webhooks.acme.url: is "acme.example", must be an absolute`},
		{"a webhook's URL without end", "webhooks: {acme: {url: 'http://a.example/" + strings.Repeat("x", 2032) + "'}}\n", "of at most 2048 characters"},
		{"a webhook's URL with a fragment", "webhooks: {acme: {url: 'http://a.example/#top'}}\n", "without user and fragment"},
		{"a secret as a name", "webhooks: {acme: {secret_env: whsec_topsecret}}\n", "webhooks.acme.secret_env: must be the name"},
		{"a key as a name", "upstreams: {openai: {base_url: 'http://localhost/v1', api_key_env: sk-topsecret}}\n", "upstreams.openai.api_key_env: must be the name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := load(t, tt.yaml)
			wantMistake(t, err, "sluice.yaml", tt.want)
		})
	}
}

func TestAFileTooLarge(t *testing.T) {
	t.Parallel()
	_, err := load(t, strings.Repeat("#", 2<<20))
	wantMistake(t, err, "SLUICE_CONFIG", "larger than")
}
