package worker

import (
	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/llm"
)

// estimate is what calls of one type come to beyond the guess from their characters, in tokens on average, learned from what
// providers counted: mostly the output, which is much the same within a type, and whatever a request only refers to. A
// payload that names its max_output_tokens is charged by that, which needs no learning.
type estimate struct {
	beyond float64
	known  bool
}

// of a call with that cost.
func (e estimate) of(c jobtype.Cost) float64 {
	if c.Most > 0 {
		return c.Charge()
	}
	return max(c.Input()+e.beyond, 1)
}

// learned takes what a provider counted for a call.
func (e estimate) learned(c jobtype.Cost, used llm.Usage) estimate {
	if used.InputTokens <= 0 || used.OutputTokens < 0 {
		return e // nothing was counted
	}
	beyond := float64(used.InputTokens+used.OutputTokens) - c.Input()
	if !e.known {
		return estimate{beyond, true}
	}
	e.beyond += learning * (beyond - e.beyond)
	return e
}

// used settles a call by what it used: the next estimate of its type is the better for it. Where no headers tell what the provider has left, what it used beyond
// its estimate is owed, and made up for by the next chunk; where they do, the next answer has told it already.
func (l *life) used(a *attempt, usage *llm.Usage) {
	if usage == nil || !a.line.paced || a.cost == (jobtype.Cost{}) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	name := a.jobType.Name
	l.estimates[name] = l.estimates[name].learned(a.cost, *usage)
	if a.cost.Most == 0 && a.permit.tokens > 0 && !a.line.status.Told {
		a.line.owe(float64(usage.InputTokens+usage.OutputTokens) - a.estimate)
	}
}
