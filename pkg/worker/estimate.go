package worker

import (
	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/llm"
)

// estimate is what calls of one type come to, in tokens, learned from what providers counted. A payload that names its
// max_output_tokens is charged by that, which needs no learning; one that does not is charged for an output that nobody
// knows, but that is much the same within a type.
type estimate struct {
	perToken float64 // tokens of input as counted for each one that was guessed from the characters
	output   float64 // tokens, on average
	known    bool
}

// of a call with that cost.
func (e estimate) of(c jobtype.Cost) float64 {
	if c.Most > 0 || !e.known {
		return c.Charge()
	}
	return max(c.Input()*e.perToken+e.output, 1)
}

// learned takes what a provider counted for a call.
func (e estimate) learned(c jobtype.Cost, used llm.Usage) estimate {
	if used.InputTokens <= 0 || used.OutputTokens < 0 {
		return e // nothing was counted
	}
	perToken, output := float64(used.InputTokens)/max(c.Input(), 1), float64(used.OutputTokens)
	if !e.known {
		return estimate{perToken, output, true}
	}
	e.perToken += learning * (perToken - e.perToken)
	e.output += learning * (output - e.output)
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
		a.line.owed += float64(usage.InputTokens+usage.OutputTokens) - a.estimate
	}
}
