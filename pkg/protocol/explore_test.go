package protocol

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// explorer visits every state that a model can reach, breadth first, so that the first story it finds of something wrong
// is a shortest one. S is the state of everybody at once: small, and comparable.
type explorer[S comparable] struct {
	// steps calls do with all that can happen next in a state.
	steps func(s S, do func(step[S]))
	// wrong says what is never true of a good state; "": nothing is.
	wrong func(s S) string
	// settled are the states that all has to come to, if only nothing more goes wrong.
	settled func(s S) bool

	states []S
	from   []origin
	index  map[S]int32
	into   [][]int32 // the states from which a fair step leads to each
}

// step is one thing that happens, atomic exactly where a statement of SQL or a critical section of a worker is.
type step[S comparable] struct {
	action action
	to     S
	fair   bool   // it happens by itself in the end: neither a fault, nor somebody's wish
	broke  string // what must never happen, if this is it
}

// action names a step in a story.
type action struct {
	what string
	who  int8 // worker; 0: somebody else
	job  int8 // 0: none
	nth  int8 // lease, or another number; 0: none
}

func (a action) String() string {
	text := a.what
	if a.who != 0 {
		text = fmt.Sprintf("worker %c: %s", 'A'+a.who-1, text)
	}
	if a.job != 0 {
		text += fmt.Sprintf(" job %d", a.job)
	}
	if a.nth != 0 {
		text += fmt.Sprintf(" (%d)", a.nth)
	}
	return text
}

// origin is how a state was reached first.
type origin struct {
	state  int32
	action action
}

// found is what was wrong, and the story that leads to it.
type found struct {
	wrong string
	story []action
}

func (f *found) String() string {
	var b strings.Builder
	for i, a := range f.story {
		fmt.Fprintf(&b, "%3d. %s\n", i+1, a)
	}
	return b.String() + "  => " + f.wrong
}

// mostStates bounds what a model may grow to: an instance that is larger than that is a mistake.
const mostStates = 600_000

// run explores from one state on. nil: all is well.
func (e *explorer[S]) run(start S) *found {
	e.index = map[S]int32{}
	e.visit(start, origin{state: -1})
	if wrong := e.wrong(start); wrong != "" {
		return e.tell(0, wrong)
	}
	for at := int32(0); at < int32(len(e.states)); at++ {
		if bad := e.expand(at); bad != nil {
			return bad
		}
		if len(e.states) > mostStates {
			return e.tell(at, "the model is too large to be explored")
		}
	}
	return e.stuck()
}

// expand takes every step from a state.
func (e *explorer[S]) expand(at int32) (bad *found) {
	e.steps(e.states[at], func(s step[S]) {
		if bad != nil {
			return
		}
		broke := s.broke
		if broke == "" {
			broke = e.wrong(s.to)
		}
		if broke != "" {
			bad = e.tell(at, broke)
			bad.story = append(bad.story, s.action)
			return
		}
		to := e.visit(s.to, origin{at, s.action})
		if s.fair && to != at {
			e.into[to] = append(e.into[to], at)
		}
	})
	return bad
}

// visit gives the number of a state.
func (e *explorer[S]) visit(s S, from origin) int32 {
	if i, ok := e.index[s]; ok {
		return i
	}
	i := int32(len(e.states))
	e.index[s] = i
	e.states = append(e.states, s)
	e.from = append(e.from, from)
	e.into = append(e.into, nil)
	return i
}

// stuck looks for a state from which fair steps alone lead to no settled one: what it waits for may never come. It goes
// backwards from those that are settled.
func (e *explorer[S]) stuck() *found {
	good := make([]bool, len(e.states))
	var next []int32
	for i, s := range e.states {
		if e.settled(s) {
			good[i] = true
			next = append(next, int32(i))
		}
	}
	for len(next) > 0 {
		at := next[len(next)-1]
		next = next[:len(next)-1]
		for _, before := range e.into[at] {
			if !good[before] {
				good[before] = true
				next = append(next, before)
			}
		}
	}
	if i := slices.Index(good, false); i >= 0 {
		return e.tell(int32(i), "stuck: from here on nothing that happens by itself leads on")
	}
	return nil
}

// tell gives the shortest story of a state.
func (e *explorer[S]) tell(at int32, wrong string) *found {
	f := &found{wrong: wrong}
	for ; e.from[at].state >= 0; at = e.from[at].state {
		f.story = append(f.story, e.from[at].action)
	}
	slices.Reverse(f.story)
	return f
}

// holds fails the test if the model goes wrong.
func holds[S comparable](t *testing.T, e *explorer[S], start S) {
	t.Helper()
	bad := e.run(start)
	t.Logf("%d states", len(e.states))
	if bad != nil {
		t.Errorf("the protocol goes wrong:\n%s", bad)
	}
}

// bites fails the test if the explorer does not find out what is wrong with a broken variant.
func bites[S comparable](t *testing.T, e *explorer[S], start S, wrong string) {
	t.Helper()
	bad := e.run(start)
	if bad == nil {
		t.Fatalf("in %d states nothing was found; want %q", len(e.states), wrong)
	}
	t.Logf("%d states; found:\n%s", len(e.states), bad)
	if !strings.Contains(bad.wrong, wrong) {
		t.Errorf("found %q; want %q", bad.wrong, wrong)
	}
}

// stair is a model of its own: somebody climbs, and a fault breaks the way on from one step.
func stair(faults bool) *explorer[int] {
	return &explorer[int]{
		steps: func(at int, do func(step[int])) {
			if at < 5 {
				do(step[int]{action: action{what: "climb"}, to: at + 1, fair: true})
			}
			if faults && at == 3 {
				do(step[int]{action: action{what: "fall"}, to: 10})
			}
		},
		wrong:   func(at int) string { return "" },
		settled: func(at int) bool { return at == 5 },
	}
}

func TestTheExplorer(t *testing.T) {
	t.Parallel()
	holds(t, stair(false), 0)
	bites(t, stair(true), 0, "stuck")
	e := stair(false)
	e.wrong = func(at int) string { return map[int]string{4: "too high"}[at] }
	bites(t, e, 0, "too high")
}
