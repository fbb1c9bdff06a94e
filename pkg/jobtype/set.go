package jobtype

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Set is the types that a process knows. It is safe to share.
type Set struct {
	byName map[string]Type
}

// NewSet makes a set. It reports all that is wrong with the types, and names
// given twice.
func NewSet(types ...Type) (Set, error) {
	set := Set{byName: make(map[string]Type, len(types))}
	var wrong []error
	for _, t := range types {
		if _, twice := set.byName[t.Name]; twice {
			wrong = append(wrong, fmt.Errorf("type %s: is given twice", t.Name))
		}
		for _, err := range t.Validate() {
			wrong = append(wrong, fmt.Errorf("type %s: %w", t.Name, err))
		}
		set.byName[t.Name] = t
	}
	return set, errors.Join(wrong...)
}

// Lookup returns the type of that name.
func (s Set) Lookup(name string) (Type, bool) {
	t, ok := s.byName[name]
	return t, ok
}

// All returns the types, sorted by name.
func (s Set) All() []Type {
	types := make([]Type, 0, len(s.byName))
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		types = append(types, s.byName[name])
	}
	return types
}

// What is built in.
const (
	BuiltinUpstream = "openai"
	BuiltinModel    = "gpt-5"
	BuiltinPolicy   = "self-diagnostic"
)

//go:embed self-diagnostic.md
var selfDiagnostic string

// SelfDiagnostic is the text of the built-in policy.
func SelfDiagnostic() string { return strings.TrimSpace(selfDiagnostic) }

// Builtin returns the built-in types with a model: what a process knows that was
// configured with nothing.
func Builtin(model string) Set {
	return Set{byName: map[string]Type{
		"kb.ingest":        builtin("kb.ingest", model, 4, 5, 72*time.Hour),
		"diary.entry":      builtin("diary.entry", model, DefaultPriority, DefaultAttempts, 0),
		"autopoietic.tick": builtin("autopoietic.tick", model, 9, 3, 0),
	}}
}

func builtin(name, model string, priority, attempts int, maxWait time.Duration) Type {
	return Type{
		Name: name, Upstream: BuiltinUpstream, Model: model,
		Priority: priority, MaxAttempts: attempts, Timeout: DefaultTimeout, MaxWait: maxWait,
		Policy: SelfDiagnostic(),
	}
}
