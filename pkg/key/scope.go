package key

import (
	"fmt"
	"slices"
	"strings"
)

// Scope is what a key may do.
type Scope string

// Scopes. All but Admin end at the key's own tenant.
const (
	Enqueue Scope = "enqueue" // post jobs
	Read    Scope = "read"    // see jobs, their results, and the state of queue and upstreams
	Operate Scope = "operate" // cancel and retry jobs; the answer shows the job, so it implies Read
	Admin   Scope = "admin"   // everything, and alone what is the whole fleet's: pause, resume, metrics
)

// Scopes are all there are, the weakest first.
var Scopes = []Scope{Enqueue, Read, Operate, Admin}

var implied = map[Scope][]Scope{
	Operate: {Read},
	Admin:   {Enqueue, Read, Operate},
}

// Allow tells whether scopes include one, by name or by implication.
func Allow(scopes []Scope, wanted Scope) bool {
	return slices.ContainsFunc(scopes, func(s Scope) bool { return s == wanted || slices.Contains(implied[s], wanted) })
}

// ParseScopes reads a comma-separated list.
func ParseScopes(text string) ([]Scope, error) {
	var scopes []Scope
	for part := range strings.SplitSeq(text, ",") {
		scope := Scope(strings.TrimSpace(part))
		if !slices.Contains(Scopes, scope) {
			return nil, fmt.Errorf("%q is no scope; there are enqueue, read, operate and admin", scope)
		}
		if !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	return scopes, nil
}
