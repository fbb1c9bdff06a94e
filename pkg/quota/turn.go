package quota

import "time"

// Turn keeps a call that needs a large part of the bucket from starving: small calls would take every token that it waits
// for. The first one that finds too little has its turn, and smaller ones leave it the tokens. Then it is theirs for as
// long as what it took needs to refill.
type Turn struct {
	Tokens float64   `json:",omitzero"` // of the call whose turn it is; 0: that of the small ones
	Until  time.Time `json:",omitzero"`
}

const (
	// largeShare is the share of a limit above which a call is one that could starve.
	largeShare = 0.1
	// sameTurn is the share of its tokens from which an ask is taken for that call.
	sameTurn = 0.9
	// maxTurn bounds how long others wait for a call that may never be asked for again.
	maxTurn = 2 * time.Minute
)

// yields is how long an ask leaves the tokens to another one.
func (t Turn) yields(a Ask, now time.Time) time.Duration {
	if a.TokensEach == 0 || a.TokensEach >= sameTurn*t.Tokens {
		return 0
	}
	return max(0, t.Until.Sub(now))
}

// waits notes that an ask has to wait so long for the tokens.
func (t Turn) waits(a Ask, wait time.Duration, now time.Time) Turn {
	free := !now.Before(t.Until)
	if (free || t.Tokens > 0) && t.yields(a, now) == 0 && wait <= maxTurn {
		return Turn{max(a.TokensEach, 1), now.Add(wait + 2*a.Tau)}
	}
	return t
}

// served notes that an ask was granted a call, whose tokens refill in the given time.
func (t Turn) served(refill time.Duration, now time.Time) Turn {
	if t.Tokens == 0 {
		return t
	}
	return Turn{Until: now.Add(min(refill, maxTurn))}
}

// couldStarve tells whether a call is a large part of some bucket, and how long what it takes needs to refill.
func (q Quota) couldStarve(a Ask) (refill time.Duration, yes bool) {
	for d := Tokens; d < Dimensions; d++ {
		l, cost := q.Limits[d], q.cost(d, a)
		if l.Known() && cost > largeShare*l.Limit {
			refill, yes = max(refill, duration(cost/l.Rate())), true
		}
	}
	return refill, yes
}
