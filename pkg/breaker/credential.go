package breaker

import "slices"

// A credential goes by a fingerprint, which tells it from others and tells nothing else of it. "" is one that is not
// known: it may be any, so all that is said of it holds for everybody.

// MaxRefused bounds Breaker.Refused: the row that it lives in stays small.
const MaxRefused = 8

func (b Breaker) refuses(credential string) bool { return slices.Contains(b.Refused, credential) }

// refuse notes that a credential is refused. The one that was refused the longest ago makes room.
func (b Breaker) refuse(credential string) Breaker {
	if credential == "" {
		return b
	}
	b = b.accept(credential)
	b.Refused = append(b.Refused, credential)
	b.Refused = b.Refused[max(0, len(b.Refused)-MaxRefused):]
	if b.Suspect.Credential == credential {
		b.Suspect = Suspect{} // it is no suspicion any more
	}
	return b
}

// accept notes that a credential is not refused.
func (b Breaker) accept(credential string) Breaker {
	b.Refused = slices.DeleteFunc(slices.Clone(b.Refused), func(r string) bool { return r == credential })
	return b
}

// makeRoom forgets the oldest half of a full list, which over the years is of keys that nobody has any more, so that
// untried credentials may probe in the outage that begins.
func (b Breaker) makeRoom() Breaker {
	if len(b.Refused) >= MaxRefused {
		b.Refused = b.Refused[len(b.Refused)-MaxRefused/2:]
	}
	return b
}

// same tells whether two credentials are one, for all that is known.
func same(a, b string) bool { return a == b || a == "" || b == "" }
