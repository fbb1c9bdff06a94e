package worker

import (
	"math"
	"testing"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/llm"
)

func TestEstimatesFollowWhatWasUsed(t *testing.T) {
	t.Parallel()
	short, long := jobtype.Cost{Characters: 400}, jobtype.Cost{Characters: 4000}
	var e estimate
	if got := e.of(short); got != 100 {
		t.Errorf("before anything was used: %v, want a quarter of the characters", got)
	}
	for range 50 {
		e = e.learned(short, llm.Usage{InputTokens: 133, OutputTokens: 600})
	}
	for c, want := range map[jobtype.Cost]float64{short: 733, long: 1633, {Characters: 400, Most: 2000}: 2000} {
		if got := e.of(c); math.Abs(got-want) > 5 {
			t.Errorf("%+v: %v, want %v", c, got, want)
		}
	}
	if e.learned(short, llm.Usage{}) != e {
		t.Error("a provider that counts nothing taught something")
	}
	// The answers become shorter.
	for range 50 {
		e = e.learned(short, llm.Usage{InputTokens: 133, OutputTokens: 10})
	}
	if got := e.of(short); got > 160 {
		t.Errorf("long after the answers became short: %v", got)
	}
	// Few characters that refer to a lot say nothing of many that do not.
	e = estimate{}.learned(jobtype.Cost{Characters: 10}, llm.Usage{InputTokens: 50_000, OutputTokens: 100})
	if got := e.of(jobtype.Cost{Characters: 8000}); got > 53_000 {
		t.Errorf("8,000 characters are taken for %v tokens", got)
	}
}

// What is owed is made up for in steps: booked at one go, it could be more than the limit, and no call would go at all.
func TestBookingIsBounded(t *testing.T) {
	t.Parallel()
	l := &line{tokens: 1000, purse: purse{bought: 20}}
	l.owe(1e9)
	if l.owed != 20_000 {
		t.Errorf("%v is owed, want no more than a chunk's", l.owed)
	}
	l.owe(-1e9)
	if l.owed != -20_000 {
		t.Errorf("%v is owed, want no less than a chunk's", l.owed)
	}
	for _, c := range []struct {
		owed float64
		n    int
		want float64
	}{{0, 10, 1000}, {2000, 10, 1200}, {-2000, 10, 800}, {1e9, 1, 2000}, {-1e9, 1, 100}} {
		l.owed = c.owed
		if got := l.booking(c.n); got != c.want {
			t.Errorf("owed %v, %d calls: %v booked for each, want %v", c.owed, c.n, got, c.want)
		}
	}
}

// A call that used more than it was taken for is settled by the next chunk, but not where each answer tells what is left:
// it has told this too.
func TestSettling(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		cost jobtype.Cost
		told bool
		owed float64
	}{
		{"no headers", jobtype.Cost{Characters: 400}, false, 650},
		{"headers", jobtype.Cost{Characters: 400}, true, 0},
		{"a given maximum is what is charged", jobtype.Cost{Characters: 400, Most: 100}, false, 0},
	} {
		l := newCrew(t, nil)
		a := failing(l)
		a.jobType.Name, a.cost, a.estimate, a.permit.tokens = "ask", c.cost, 100, 100
		a.line.status.Told, a.line.purse.bought, a.line.tokens = c.told, 10, 100
		l.used(a, &llm.Usage{InputTokens: 150, OutputTokens: 600})
		if a.line.owed != c.owed {
			t.Errorf("%s: %v owed, want %v", c.name, a.line.owed, c.owed)
		}
		if got := l.estimates["ask"].of(jobtype.Cost{Characters: 400}); got != 750 {
			t.Errorf("%s: the next one is taken for %v, want 750", c.name, got)
		}
	}
}
