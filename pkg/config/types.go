package config

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/retry"
)

const (
	kindOpenAI    = "openai"
	noPolicy      = "none"
	handlerCustom = "custom"
)

// file fills in the upstreams and types: what is built in, and on top of that,
// name by name, what the file says.
func (r *reader) file(shared *Shared) {
	c := catalog{
		model:     openAIModel.read(r),
		policies:  map[string]string{jobtype.BuiltinPolicy: jobtype.SelfDiagnostic()},
		upstreams: map[string]Upstream{},
		types:     map[string]jobtype.Type{},
		webhooks:  map[string]TenantWebhooks{},
	}
	c.upstreams[jobtype.BuiltinUpstream] = Upstream{Name: jobtype.BuiltinUpstream, Kind: kindOpenAI, APIKeyEnv: openAIKey.Name}
	for _, t := range jobtype.Builtin(c.model).All() {
		c.types[t.Name] = t
	}
	if name := configFile.read(r); name != "" {
		if top, ok := openFile(name, &r.wrong); ok {
			shared.TypesVersion = c.read(top)
		}
	}
	r.known = map[string]bool{}
	for _, u := range c.upstreams {
		r.known[u.APIKeyEnv], r.known[u.APIKeyEnv+fileSuffix] = true, true
	}
	for _, w := range c.webhooks {
		r.known[w.SecretEnv], r.known[w.SecretEnv+fileSuffix] = true, true
	}
	shared.Upstreams = c.upstreams
	shared.Webhooks = c.webhooks
	shared.Types, _ = jobtype.NewSet(slices.Collect(maps.Values(c.types))...) // mistakes are reported with their lines
}

// catalog is what is built in, as the file changes it.
type catalog struct {
	model     string // of the built-in upstream
	policies  map[string]string
	upstreams map[string]Upstream
	types     map[string]jobtype.Type
	webhooks  map[string]TenantWebhooks
}

// read takes over the file and returns its version.
func (c *catalog) read(top section) int64 {
	top.only(append(namesOf(topKeys), "upstreams", "policies", "types", "webhooks")...)
	version := top.whole("version", 0)
	if version < 0 {
		top.add("version", "is %d, must be a whole number from 0", version)
	}
	c.readPolicies(top.under("policies"))
	upstreams := top.under("upstreams")
	for _, name := range upstreams.names() {
		c.upstreams[name] = readUpstream(name, upstreams)
	}
	types := top.under("types")
	for _, name := range types.names() {
		if value, _ := types.get(name); value == nil { // "kb.ingest:" alone removes what is built in
			delete(c.types, name)
			continue
		}
		c.types[name] = c.readType(name, types)
	}
	webhooks := top.under("webhooks")
	for _, tenant := range webhooks.names() {
		c.webhooks[tenant] = readWebhooks(tenant, webhooks)
	}
	return version
}

func (c *catalog) readPolicies(policies section) {
	for _, name := range policies.names() {
		text := strings.TrimSpace(policies.text(name, ""))
		switch {
		case name == noPolicy:
			policies.add(name, "is the word for no policy and cannot be one")
		case text == "":
			policies.add(name, "must be text")
		}
		c.policies[name] = text
	}
	for name, t := range c.types { // the built-in types follow a built-in policy that was rewritten
		t.Policy = c.policies[jobtype.BuiltinPolicy]
		c.types[name] = t
	}
}

var variable = regexp.MustCompile(`^[A-Z_][A-Z0-9_]*$`)

func readUpstream(name string, upstreams section) Upstream {
	s := upstreams.under(name)
	s.only(namesOf(upstreamKeys)...)
	u := Upstream{Name: name, Kind: s.text("kind", kindOpenAI), BaseURL: s.text("base_url", "")}
	if name == jobtype.BuiltinUpstream {
		u.APIKeyEnv = openAIKey.Name
	}
	u.APIKeyEnv = s.text("api_key_env", u.APIKeyEnv)

	if !jobtype.ValidUpstream(name) {
		upstreams.add(name, "is no name for an upstream, must match %s", jobtype.UpstreamPattern)
	}
	if u.Kind != kindOpenAI {
		s.add("kind", "is %s, must be %s", show(u.Kind), kindOpenAI)
	}
	switch {
	case u.BaseURL != "" && !isBaseURL(u.BaseURL):
		s.add("base_url", "is %s, must be %s", show(u.BaseURL), allowedBaseURL)
	case u.BaseURL == "" && name != jobtype.BuiltinUpstream:
		upstreams.add(name, "must have a base_url")
	}
	if u.APIKeyEnv != "" && !variable.MatchString(u.APIKeyEnv) {
		// Not shown: the likeliest mistake is to put the key itself here.
		s.add("api_key_env", "must be the name of an environment variable, such as OPENAI_API_KEY")
		u.APIKeyEnv = ""
	}
	return u
}

func readWebhooks(tenant string, webhooks section) TenantWebhooks {
	s := webhooks.under(tenant)
	s.only(namesOf(webhookKeys)...)
	w := TenantWebhooks{URL: s.text("url", ""), SecretEnv: s.text("secret_env", "")}
	if w.URL == "" && w.SecretEnv == "" {
		webhooks.add(tenant, "must have a url, or a secret_env")
	}
	if w.URL != "" && !isWebhookURL(w.URL) {
		s.add("url", "is %s, must be %s", show(w.URL), allowedWebhookURL)
		w.URL = ""
	}
	if w.SecretEnv != "" && !variable.MatchString(w.SecretEnv) {
		s.add("secret_env", "must be the name of an environment variable, such as ACME_WEBHOOK_SECRET") // not shown: it may be the secret
		w.SecretEnv = ""
	}
	return w
}

func (c *catalog) readType(name string, types section) jobtype.Type {
	s := types.under(name)
	s.only(namesOf(typeKeys)...)
	t := jobtype.Type{
		Name:        name,
		Custom:      s.text("handler", "") == handlerCustom,
		Models:      s.texts("models"),
		Priority:    int(s.whole("priority", jobtype.DefaultPriority)),
		MaxAttempts: int(s.whole("max_attempts", jobtype.DefaultAttempts)),
		Timeout:     s.duration("timeout", jobtype.DefaultTimeout),
		MaxWait:     s.duration("max_wait", 0),
		Request:     readRequest(s),
		Backoff:     readBackoff(s.under("backoff")),
	}
	if _, given := s.get("handler"); given && !t.Custom {
		s.add("handler", "must be %s, or not be there", handlerCustom)
	}
	c.readUpstreamOf(&t, s)
	t.Policy = c.readPolicyOf(t, s)
	for _, err := range t.Validate() {
		key, _, _ := strings.Cut(err.Field, ".")
		switch value, _ := s.get(key); {
		case key == "name":
			types.add(name, "is no name for a type, %s", err.Message)
		case value == nil:
			s.add(err.Field, "is not set, %s", err.Message)
		case isScalar(value):
			s.add(err.Field, "is %s, %s", show(value), err.Message)
		default:
			s.add(err.Field, "%s", err.Message)
		}
	}
	return t
}

// readUpstreamOf fills in where a type's calls go and with which model.
func (c *catalog) readUpstreamOf(t *jobtype.Type, s section) {
	fallback := jobtype.BuiltinUpstream
	if t.Custom {
		fallback = ""
	}
	t.Upstream = s.text("upstream", fallback)
	if t.Upstream == jobtype.BuiltinUpstream {
		t.Model = c.model
	}
	t.Model = s.text("model", t.Model)
	if _, ok := c.upstreams[t.Upstream]; !ok && t.Upstream != "" {
		s.add("upstream", "is %s, must be one of %s", show(t.Upstream), sorted(c.upstreams))
	}
}

// readPolicyOf returns the text of a type's policy.
func (c *catalog) readPolicyOf(t jobtype.Type, s section) string {
	fallback := jobtype.BuiltinPolicy
	if t.Custom {
		fallback = noPolicy
	}
	name := s.text("policy", fallback)
	if name == noPolicy {
		return ""
	}
	text, ok := c.policies[name]
	if !ok {
		s.add("policy", "is %s, must be %s or one of %s", show(name), noPolicy, sorted(c.policies))
	}
	return text
}

func readBackoff(s section) retry.Backoff {
	s.only(namesOf(backoffKeys)...)
	b := retry.Backoff{Base: s.duration("base", 0), Factor: s.number("factor", 0), Cap: s.duration("cap", 0)}
	if jitter := s.text("jitter", ""); jitter != "" {
		if err := b.Jitter.UnmarshalText([]byte(jitter)); err != nil {
			s.add("jitter", "is %s, %v", show(jitter), err)
		}
	}
	return b
}

func isScalar(value any) bool {
	switch value.(type) {
	case yaml.MapSlice, []any, map[string]any:
		return false
	}
	return true
}

func sorted[V any](byName map[string]V) string {
	return strings.Join(slices.Sorted(maps.Keys(byName)), ", ")
}

func onLoopback(baseURL string) bool {
	u, err := url.Parse(baseURL)
	return err == nil && isLoopback(u.Hostname())
}
