package main

import (
	"net/http"
	"testing"
)

func TestWhatAClientMayBeToldOfAnOrder(t *testing.T) {
	t.Parallel()
	fresh := view{State: "queued", Lease: 2}
	cases := map[string]struct {
		before    orders
		meanwhile int // retries that others asked for
		verb      string
		status    int
		job       view
		wrong     bool
	}{
		"a retry":                           {before: orders{rests: "failed", lease: 2}, verb: retry, status: 200, job: fresh},
		"a retry of a job that rests":       {before: orders{rests: "failed", lease: 2}, verb: retry, status: 409, wrong: true},
		"somebody else was faster":          {before: orders{rests: "failed", lease: 2}, meanwhile: 1, verb: retry, status: 409},
		"a retry of who knows what":         {verb: retry, status: 409},
		"no answer":                         {before: orders{rests: "failed", lease: 2}, verb: retry, status: 0},
		"a retry without a fresh allowance": {verb: retry, status: 200, job: view{"queued", 1, 2}, wrong: true},
		"a retry that leaves it as it was":  {verb: retry, status: 200, job: view{"failed", 0, 2}, wrong: true},
		"a retry that takes the lease back": {before: orders{lease: 3}, verb: retry, status: 200, job: fresh, wrong: true},
		"a retry that raises the lease":     {before: orders{rests: "cancelled", lease: 1}, verb: retry, status: 200, job: fresh, wrong: true},
		"a lease that grew before":          {before: orders{lease: 1}, verb: retry, status: 200, job: fresh},
		"a cancel":                          {before: orders{lease: 1}, verb: cancel, status: 200, job: view{"cancelled", 0, 2}},
		"a cancel that leaves it running":   {verb: cancel, status: 200, job: view{"running", 0, 2}, wrong: true},
		"a cancel of a job that rests":      {before: orders{rests: "cancelled", lease: 2}, verb: cancel, status: 200, job: view{"cancelled", 0, 2}, wrong: true},
		"a cancel that is refused":          {before: orders{rests: "cancelled", lease: 2}, verb: cancel, status: 409},
		"a cancel after somebody's retry":   {before: orders{rests: "cancelled", lease: 2}, meanwhile: 1, verb: cancel, status: 200, job: view{"cancelled", 0, 3}},
	}
	for name, c := range cases {
		l := newLedger()
		l.orders["j"] = c.before
		before := l.ask("j", c.verb)
		for range c.meanwhile {
			l.ask("j", retry)
		}
		wrong := before.objection(l.answer("j", c.verb, c.status), c.verb, c.status, c.job)
		if (wrong != "") != c.wrong {
			t.Errorf("%s: %q", name, wrong)
		}
	}
}

// A job rests where an answer left it, unless a retry may still come from somewhere.
func TestWhenAJobRests(t *testing.T) {
	t.Parallel()
	cancelled := view{State: "cancelled", Lease: 2}
	l := newLedger()
	rests := func(what, want string) {
		t.Helper()
		if got := l.copyOf("j").rests; got != want {
			t.Errorf("%s: rests %q; want %q", what, got, want)
		}
	}
	before := l.ask("j", cancel)
	l.answer("j", cancel, http.StatusOK)
	l.saw("j", before, cancelled)
	rests("cancelled", "cancelled")
	before = l.ask("j", retry)
	rests("asked for a retry", "")
	l.answer("j", retry, http.StatusOK)
	l.saw("j", before, view{State: "queued", Lease: 2})
	before = l.ask("j", cancel)
	l.ask("j", retry)
	l.answer("j", retry, http.StatusOK)
	l.answer("j", cancel, http.StatusOK)
	l.saw("j", before, cancelled)
	rests("cancelled and retried at the same moment", "")
	l.saw("j", l.copyOf("j"), cancelled)
	rests("seen so afterwards", "cancelled")
	l.ask("j", retry)
	l.answer("j", retry, http.StatusServiceUnavailable)
	l.saw("j", l.copyOf("j"), cancelled)
	rests("after a retry without a clear answer", "")
	if l.saw("j", l.copyOf("j"), view{State: "running"}) || !l.saw("j", l.copyOf("j"), view{State: "done"}) || len(l.done) != 1 {
		t.Errorf("done: %v", l.done)
	}
}
