package retry

import (
	"math"
	"testing"
	"time"
)

func TestDefaultDelays(t *testing.T) {
	t.Parallel()
	want := []time.Duration{
		300 * time.Millisecond, 1800 * time.Millisecond, 10800 * time.Millisecond, time.Minute, time.Minute,
	}
	for i, w := range want {
		if got := (Backoff{}).Delay(i+1, 0); got.Round(time.Microsecond) != w {
			t.Errorf("Delay(%d) = %v, want %v", i+1, got, w)
		}
	}
}

func TestFiveTriesSpanAMinute(t *testing.T) {
	t.Parallel()
	var span time.Duration
	for attempt := 1; attempt <= 4; attempt++ {
		span += Backoff{}.Delay(attempt, 0)
	}
	if span < time.Minute {
		t.Errorf("the delays between five tries add up to %v, want at least a minute", span)
	}
}

func TestAdditiveJitterOnlyLengthens(t *testing.T) {
	t.Parallel()
	for attempt := 1; attempt < 8; attempt++ {
		bare := Backoff{}.Delay(attempt, 0)
		most := Backoff{}.Delay(attempt, math.Nextafter(1, 0))
		if most <= bare || most > bare+bare/4 {
			t.Errorf("Delay(%d) goes from %v to %v, want a lengthening of at most 25 %%", attempt, bare, most)
		}
	}
}

func TestFullJitterIsOneSettingAway(t *testing.T) {
	t.Parallel()
	full := Backoff{Jitter: Full}
	for attempt, want := range map[int]time.Duration{
		1: 300 * time.Millisecond, 2: 600 * time.Millisecond, 3: 1200 * time.Millisecond, 8: 30 * time.Second,
	} {
		if got := full.Delay(attempt, 1); got != want {
			t.Errorf("the most of Delay(%d) = %v, want %v", attempt, got, want)
		}
		if got := full.Delay(attempt, 0.5); got != want/2 {
			t.Errorf("the middle of Delay(%d) = %v, want %v", attempt, got, want/2)
		}
		if got := full.Delay(attempt, 0); got != 0 {
			t.Errorf("the least of Delay(%d) = %v, want 0", attempt, got)
		}
	}
}

func TestDelayIsClampedBeforeItIsConverted(t *testing.T) {
	t.Parallel()
	for _, attempt := range []int{60, 63, 64, 65, 1_000, 10_000, math.MaxInt} {
		if got := (Backoff{}).Delay(attempt, 0); got != time.Minute {
			t.Errorf("Delay(%d) = %v, want the cap", attempt, got)
		}
	}
	for _, attempt := range []int{0, -1, math.MinInt} {
		if got := (Backoff{}).Delay(attempt, 0); got != 300*time.Millisecond {
			t.Errorf("Delay(%d) = %v, want the base", attempt, got)
		}
	}
}

func TestLimited(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		retryAfter time.Duration
		strikes    int
		rnd        float64
		want       time.Duration
	}{
		{"the provider's time is a floor", 7 * time.Second, 1, 0, 7 * time.Second},
		{"on top comes up to 2^strikes seconds", 7 * time.Second, 3, 0.5, 11 * time.Second},
		{"and at most a minute", 7 * time.Second, 50, 1, 67 * time.Second},
		{"which does not overflow", 7 * time.Second, math.MaxInt, 1, 67 * time.Second},
		{"negative strikes count as none", 7 * time.Second, -3, 1, 8 * time.Second},
		{"nothing given: the backoff", 0, 4, 0, time.Minute},
		{"a negative wait is none", -time.Second, 4, 0, time.Minute},
		{"days are kept", 114*time.Hour + 18*time.Minute, 0, 0, 114*time.Hour + 18*time.Minute},
		{"years are not", math.MaxInt64, 10, 1, MaxRetryAfter + time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := (Backoff{}).Limited(tt.retryAfter, tt.strikes, tt.rnd); got != tt.want {
				t.Errorf("Limited(%v, %d, %v) = %v, want %v", tt.retryAfter, tt.strikes, tt.rnd, got, tt.want)
			}
		})
	}
}

func TestFailedIsNeverBeforeRetryAfter(t *testing.T) {
	t.Parallel()
	if got := (Backoff{}).Failed(20*time.Second, 1, 0); got != 20*time.Second {
		t.Errorf("Failed with a longer Retry-After = %v, want 20s", got)
	}
	if got := (Backoff{}).Failed(20*time.Second, 4, 0); got != time.Minute {
		t.Errorf("Failed with a shorter Retry-After = %v, want the backoff", got)
	}
	if got := (Backoff{}).Failed(0, 1, 0); got != 300*time.Millisecond {
		t.Errorf("Failed without a Retry-After = %v, want the backoff", got)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, good := range []Backoff{
		{}, {Jitter: Full}, {Factor: 1}, {Base: time.Second, Cap: time.Second}, {Base: MaxCap, Cap: MaxCap},
	} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v is refused: %v", good, err)
		}
	}
	for _, bad := range []Backoff{
		{Jitter: "none"}, {Base: -1}, {Base: time.Microsecond}, {Base: 2 * time.Minute}, {Cap: MaxCap + 1},
		{Factor: 0.5}, {Factor: -2}, {Factor: math.NaN()}, {Factor: math.Inf(1)},
	} {
		if err := bad.Validate(); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

func TestJitterKindUnmarshalText(t *testing.T) {
	t.Parallel()
	var j JitterKind
	if err := j.UnmarshalText([]byte("full")); err != nil || j != Full {
		t.Errorf("full becomes %q, %v", j, err)
	}
	if err := j.UnmarshalText([]byte("FULL")); err == nil || j != Full {
		t.Errorf("FULL becomes %q, %v, want an error and no change", j, err)
	}
}

func FuzzDelay(f *testing.F) {
	f.Add(int64(0), 0.0, int64(0), false, 1, 0.5, int64(0))
	f.Add(int64(-5), math.NaN(), int64(-1), true, 10_000, math.Inf(1), int64(math.MaxInt64))
	f.Add(int64(math.MaxInt64), 1e308, int64(math.MaxInt64), false, math.MaxInt, math.NaN(), int64(math.MinInt64))
	f.Fuzz(func(t *testing.T, base int64, factor float64, limit int64, full bool, attempt int, rnd float64, retryAfter int64) {
		b := Backoff{Base: time.Duration(base), Factor: factor, Cap: time.Duration(limit)}
		if full {
			b.Jitter = Full
		}
		delayCap := min(max(b.WithDefaults().Cap, 0), MaxCap)
		if got := b.Delay(attempt, rnd); got < 0 || got > delayCap+delayCap/4+1 {
			t.Errorf("%+v.Delay(%d, %v) = %v", b, attempt, rnd, got)
		}
		asked := time.Duration(retryAfter)
		for _, got := range []time.Duration{b.Limited(asked, attempt, rnd), b.Failed(asked, attempt, rnd)} {
			if got < min(max(asked, 0), MaxRetryAfter) || got > MaxRetryAfter+maxSpread {
				t.Errorf("%+v with Retry-After %v, attempt %d, rnd %v: %v", b, asked, attempt, rnd, got)
			}
		}
	})
}
