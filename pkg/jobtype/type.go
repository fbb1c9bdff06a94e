package jobtype

import (
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"time"

	"github.com/sluicedev/sluice/pkg/retry"
	"github.com/sluicedev/sluice/pkg/strictjson"
)

// Bounds and defaults of a job. SQL and the OpenAPI file state the same numbers.
const (
	MinPriority     = 1 // the highest
	MaxPriority     = 10
	DefaultPriority = 5

	MinAttempts     = 1
	MaxAttempts     = 100
	DefaultAttempts = 5

	// MaxDelay is how far ahead a job may be scheduled.
	MaxDelay = 30 * 24 * time.Hour

	MinTimeout     = time.Second
	MaxTimeout     = 24 * time.Hour
	DefaultTimeout = 10 * time.Minute

	// MaxWait bounds of a type that has one; 0 is none.
	MinMaxWait = time.Second
	MaxMaxWait = 366 * 24 * time.Hour

	MaxPayloadBytes = 1 << 20
	MaxPayloadDepth = 100 // arrays and objects in one another, the payload counted

	MaxPolicyBytes   = 64 << 10
	MaxRequestBytes  = 256 << 10 // of a type's default request
	MaxFurtherModels = 100
)

// Patterns of names. A type's has no colon, so that it can be part of a key; an
// upstream's has none, so that the first colon of "openai:ft:gpt-4o" divides it
// from the model.
const (
	NamePattern     = `^[a-z][a-z0-9_.-]{0,99}$`
	UpstreamPattern = `^[a-z][a-z0-9_-]{0,49}$`
	ModelPattern    = `^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,149}$`
)

var (
	namePattern     = regexp.MustCompile(NamePattern)
	upstreamPattern = regexp.MustCompile(UpstreamPattern)
	modelPattern    = regexp.MustCompile(ModelPattern)
)

// Type is a kind of job with its defaults. It is not changed after it was made.
type Type struct {
	Name string
	// Upstream is the configured upstream's name, without the model. "" is for a
	// custom type that is not paced.
	Upstream string
	// Model is used where a payload asks for none; Models are further ones that a
	// payload may ask for. Others are refused: each would be an upstream of its
	// own, and clients must not be able to make those without bound.
	Model  string
	Models []string
	// Custom marks a type whose handler is Go code. Any object is its payload.
	Custom      bool
	Priority    int
	MaxAttempts int
	Timeout     time.Duration // of one try
	MaxWait     time.Duration // 0: none
	// Policy is the text that goes in front of the instructions; "" is none.
	Policy string
	// Request is an object of default fields for the provider's request, in their
	// own bytes, or nil.
	Request json.RawMessage
	Backoff retry.Backoff
}

// UpstreamName is the name under which the fleet shares what it knows of a
// model at a configured upstream: "openai:gpt-5".
func UpstreamName(configured, model string) string { return configured + ":" + model }

// UpstreamName is the name of the upstream that a job of t goes to with a model
// that Check returned, or "" where t is not paced.
func (t Type) UpstreamName(model string) string {
	if t.Upstream == "" {
		return ""
	}
	return UpstreamName(t.Upstream, model)
}

// UpstreamNames are the names of all upstreams that jobs of t may go to.
func (t Type) UpstreamNames() []string {
	if t.Upstream == "" {
		return nil
	}
	names := []string{t.UpstreamName(t.Model)}
	for _, model := range t.Models {
		if name := t.UpstreamName(model); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Validate returns all that is wrong with t; the fields of the errors are the
// names of the keys in the configuration.
func (t Type) Validate() []*strictjson.Error {
	var wrong []*strictjson.Error
	must := func(ok bool, field, format string, args ...any) {
		if !ok {
			wrong = append(wrong, strictjson.Errorf(field, format, args...))
		}
	}
	must(namePattern.MatchString(t.Name), "name", "must match %s", NamePattern)
	must(t.Priority >= MinPriority && t.Priority <= MaxPriority, "priority", "must be %d to %d", MinPriority, MaxPriority)
	must(t.MaxAttempts >= MinAttempts && t.MaxAttempts <= MaxAttempts, "max_attempts", "must be %d to %d", MinAttempts, MaxAttempts)
	must(t.Timeout >= MinTimeout && t.Timeout <= MaxTimeout, "timeout", "must be %v to %v", MinTimeout, MaxTimeout)
	must(t.MaxWait == 0 || t.MaxWait >= MinMaxWait && t.MaxWait <= MaxMaxWait, "max_wait", "must be %v to %v, or 0 for none", MinMaxWait, MaxMaxWait)
	must(len(t.Policy) <= MaxPolicyBytes, "policy", "must be at most %d bytes", MaxPolicyBytes)
	if t.Upstream != "" || !t.Custom {
		must(upstreamPattern.MatchString(t.Upstream), "upstream", "must match %s", UpstreamPattern)
		must(modelPattern.MatchString(t.Model), "model", "must be a model's name, which matches %s", ModelPattern)
	}
	must(len(t.Models) <= MaxFurtherModels, "models", "must be at most %d", MaxFurtherModels)
	for _, model := range t.Models {
		must(modelPattern.MatchString(model), "models", "must each be a model's name, which matches %s", ModelPattern)
	}
	if err := t.Backoff.Validate(); err != nil {
		must(false, "backoff", "%v", err)
	}
	var wrongRequest *strictjson.Error
	if t.Request != nil && errors.As(checkDefaults(t.Request), &wrongRequest) {
		wrong = append(wrong, wrongRequest)
	}
	return wrong
}

// ValidModel reports whether a model may have that name.
func ValidModel(name string) bool { return modelPattern.MatchString(name) }

// ValidUpstream reports whether a configured upstream may have that name.
func ValidUpstream(name string) bool { return upstreamPattern.MatchString(name) }
