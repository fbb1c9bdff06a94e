package retry

import (
	"fmt"
	"math"
	"time"
)

// JitterKind is the way in which a delay is made random.
type JitterKind string

const (
	// Additive lengthens the delay by up to MaxAdditive of itself and never
	// shortens it, so that a number of tries spans at least the time that the
	// bare delays add up to. It is the default.
	Additive JitterKind = "additive"
	// Full picks anything between zero and the delay. It spreads a herd widest,
	// but all the tries of a job may fall into the first seconds of an outage.
	Full JitterKind = "full"
)

// MaxAdditive is the largest part of a delay that Additive adds to it.
const MaxAdditive = 0.25

// Bounds of a Backoff.
const (
	MinBase   = time.Millisecond
	MaxCap    = 24 * time.Hour
	MinFactor = 1.0
	MaxFactor = 100.0
)

// UnmarshalText takes "additive" or "full".
func (j *JitterKind) UnmarshalText(text []byte) error {
	switch kind := JitterKind(text); kind {
	case Additive, Full:
		*j = kind
		return nil
	}
	return fmt.Errorf("must be %s or %s", Additive, Full)
}

// Backoff is the exponential delay between tries: Base, Base·Factor,
// Base·Factor², ... up to Cap, before jitter.
//
// A field that is zero takes the default of its Jitter, so Backoff{} and
// Backoff{Jitter: Full} are both complete:
//
//	additive: 300 ms · 6, cap 60 s:  0.3 s, 1.8 s, 10.8 s, 60 s, 60 s, ...
//	full:     300 ms · 2, cap 30 s:  up to 0.3 s, 0.6 s, 1.2 s, ... 30 s
//
// The four delays between the five tries of the default add up to 72.9 s: an
// outage of a minute does not use up a job.
type Backoff struct {
	Base   time.Duration
	Factor float64
	Cap    time.Duration
	Jitter JitterKind
}

var (
	additiveDefaults = Backoff{Base: 300 * time.Millisecond, Factor: 6, Cap: time.Minute, Jitter: Additive}
	fullDefaults     = Backoff{Base: 300 * time.Millisecond, Factor: 2, Cap: 30 * time.Second, Jitter: Full}
)

// WithDefaults returns b with its zero fields filled in.
func (b Backoff) WithDefaults() Backoff {
	d := additiveDefaults
	if b.Jitter == Full {
		d = fullDefaults
	}
	if b.Base != 0 {
		d.Base = b.Base
	}
	if b.Factor != 0 {
		d.Factor = b.Factor
	}
	if b.Cap != 0 {
		d.Cap = b.Cap
	}
	return d
}

// Validate reports the first field that is out of bounds, defaults filled in.
func (b Backoff) Validate() error {
	if b.Jitter != "" && b.Jitter != Additive && b.Jitter != Full {
		return fmt.Errorf("jitter must be %s or %s", Additive, Full)
	}
	b = b.WithDefaults()
	switch {
	case b.Base < MinBase || b.Base > MaxCap:
		return fmt.Errorf("base must be %v to %v", MinBase, MaxCap)
	case !(b.Factor >= MinFactor && b.Factor <= MaxFactor): // written so that NaN fails
		return fmt.Errorf("factor must be %v to %v", MinFactor, MaxFactor)
	case b.Cap < b.Base || b.Cap > MaxCap:
		return fmt.Errorf("cap must be at least base (%v) and at most %v", b.Base, MaxCap)
	}
	return nil
}

// Delay is how long to wait after the attempt-th try failed (the first is 1;
// anything below counts as 1). rnd is a random number in [0, 1).
//
// The result is never negative, and at most Cap, lengthened by MaxAdditive where
// the jitter is additive.
func (b Backoff) Delay(attempt int, rnd float64) time.Duration {
	b = b.WithDefaults()
	limit := float64(min(max(b.Cap, 0), MaxCap))

	// Clamped as a float: 0.3·6^9999 is +Inf, and converting that to an integer
	// gives whatever the processor likes, often a time in the past.
	d := float64(b.Base) * math.Pow(b.Factor, float64(max(attempt, 1)-1))
	if !(d <= limit) {
		d = limit
	}
	d = max(d, 0)

	rnd = unit(rnd)
	if b.Jitter == Full {
		return time.Duration(d * rnd)
	}
	return time.Duration(d * (1 + MaxAdditive*rnd))
}

// maxSpread bounds the random time added to what a provider asked for.
const maxSpread = time.Minute

// Limited is how long a job waits that met a rate limit strikes times in a row.
//
// What the provider asked for is a floor; on top comes up to 2^strikes seconds,
// at most a minute. As an exact time it would wake all who were refused at the
// same moment again. Where the provider gave none (0), it is the plain backoff.
func (b Backoff) Limited(retryAfter time.Duration, strikes int, rnd float64) time.Duration {
	if retryAfter <= 0 {
		return b.Delay(strikes, rnd)
	}
	spread := min(math.Pow(2, float64(max(strikes, 0))), maxSpread.Seconds())
	return min(retryAfter, MaxRetryAfter) + time.Duration(spread*unit(rnd)*float64(time.Second))
}

// Failed is how long a job waits after its attempt-th charged try failed: the
// backoff, and never before the time that the provider asked for (0: none).
func (b Backoff) Failed(retryAfter time.Duration, attempt int, rnd float64) time.Duration {
	return max(b.Delay(attempt, rnd), b.Limited(retryAfter, attempt, rnd))
}

// unit forces rnd into [0, 1]; NaN becomes 0.
func unit(rnd float64) float64 {
	if !(rnd > 0) {
		return 0
	}
	return min(rnd, 1)
}
