package retry

import (
	"net/http"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	const none = -1
	tests := []struct {
		name   string
		header map[string]string
		want   time.Duration
	}{
		{"seconds", map[string]string{"Retry-After": "56"}, 56 * time.Second},
		{"a fraction", map[string]string{"Retry-After": "1.5"}, 1500 * time.Millisecond},
		{"spaces", map[string]string{"Retry-After": " 7 "}, 7 * time.Second},
		{"zero", map[string]string{"Retry-After": "0"}, 0},
		{"milliseconds win", map[string]string{"Retry-After-Ms": "4321", "Retry-After": "60"}, 4321 * time.Millisecond},
		{"unless they are garbage", map[string]string{"Retry-After-Ms": "soon", "Retry-After": "60"}, time.Minute},
		{"or negative", map[string]string{"Retry-After-Ms": "-1", "Retry-After": "60"}, time.Minute},
		{"a date", map[string]string{"Retry-After": now.Add(time.Minute).Format(http.TimeFormat)}, time.Minute},
		{"a date, by the server's clock", map[string]string{
			"Date":        now.Add(-time.Hour).Format(http.TimeFormat),
			"Retry-After": now.Add(time.Minute - time.Hour).Format(http.TimeFormat),
		}, time.Minute},
		{"a date gone by", map[string]string{"Retry-After": now.Add(-time.Minute).Format(http.TimeFormat)}, 0},
		{"a date far off", map[string]string{"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, MaxRetryAfter},
		{"days", map[string]string{"Retry-After": "411480"}, 114*time.Hour + 18*time.Minute},
		{"a huge number", map[string]string{"Retry-After": "99999999999999999999"}, MaxRetryAfter},
		{"a number past float64", map[string]string{"Retry-After": "1e400"}, MaxRetryAfter},
		{"nothing", nil, none},
		{"empty", map[string]string{"Retry-After": ""}, none},
		{"garbage", map[string]string{"Retry-After": "soon"}, none},
		{"negative", map[string]string{"Retry-After": "-5"}, none},
		{"negative past float64", map[string]string{"Retry-After": "-1e400"}, none},
		{"infinity in letters", map[string]string{"Retry-After": "Inf"}, none},
		{"not a number", map[string]string{"Retry-After": "NaN"}, none},
		{"hexadecimal", map[string]string{"Retry-After": "0x1p4"}, none},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := http.Header{}
			for k, v := range tt.header {
				h.Set(k, v)
			}
			got, ok := RetryAfter(h, now)
			if !ok {
				got = none
			}
			if got != tt.want {
				t.Errorf("RetryAfter(%v) = %v, want %v", tt.header, got, tt.want)
			}
		})
	}
}

func TestParseReset(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]time.Duration{
		"17ms": 17 * time.Millisecond, "1s": time.Second, "6m0s": 6 * time.Minute, "7h12m0s": 7*time.Hour + 12*time.Minute,
		"33": 33 * time.Second, "0.5": 500 * time.Millisecond, "0": 0, "1d2h": 26 * time.Hour, "1d": 24 * time.Hour,
		"2d0.5s": 48*time.Hour + 500*time.Millisecond, "90d": MaxRetryAfter, "2000000h": MaxRetryAfter, "1e99": MaxRetryAfter,
	} {
		if got, ok := ParseReset(s); !ok || got != want {
			t.Errorf("ParseReset(%q) = %v, %v, want %v", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "-1", "-1s", "soon", "d", "1d-2h", "-1d", "1x", "NaN", "1d1d", "99999999999h"} {
		if got, ok := ParseReset(s); ok {
			t.Errorf("ParseReset(%q) = %v, want none", s, got)
		}
	}
}

func TestTryAgainIn(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]time.Duration{
		"Limit 30000, Used 29000, Requested 1322. Please try again in 644ms. Visit https://example.com": 644 * time.Millisecond,
		"Please try again in 1h2m3.5s.":                         time.Hour + 2*time.Minute + 3500*time.Millisecond,
		"please try again in 114h18m":                           114*time.Hour + 18*time.Minute,
		"Please try again in 20s. Contact us if it goes on.":    20 * time.Second,
		"Please try again in 1d2h0m0s.":                         26 * time.Hour,
		"Please retry after 26 seconds.":                        26 * time.Second,
		"try again in 1 minute":                                 time.Minute,
		"try again in 99999999999999999999999 days":             MaxRetryAfter,
		"Please try again in 6m0s, or Please try again in 1ms.": 6 * time.Minute,
	} {
		if got, ok := TryAgainIn(message); !ok || got != want {
			t.Errorf("TryAgainIn(%q) = %v, %v, want %v", message, got, ok, want)
		}
	}
	for _, message := range []string{"", "Please try again later", "try again in a while", "try again in 5 apples", "try again in -5s", "20s"} {
		if got, ok := TryAgainIn(message); ok {
			t.Errorf("TryAgainIn(%q) = %v, want none", message, got)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "56", "1.5", "-1", "1e400", "Fri, 31 Dec 9999 23:59:59 GMT", "6m0s", "1d2h", "Please try again in 1h2m3.5s."} {
		f.Add(s, s, s)
	}
	f.Fuzz(func(t *testing.T, ms, after, date string) {
		h := http.Header{"Retry-After-Ms": {ms}, "Retry-After": {after}, "Date": {date}}
		got, ok := RetryAfter(h, now)
		inBounds(t, got, ok)
		got, ok = ParseReset(after)
		inBounds(t, got, ok)
		got, ok = TryAgainIn("Please try again in " + after)
		inBounds(t, got, ok)
		got, ok = TryAgainIn(after)
		inBounds(t, got, ok)
	})
}

func inBounds(t *testing.T, d time.Duration, ok bool) {
	t.Helper()
	if d < 0 || d > MaxRetryAfter || !ok && d != 0 {
		t.Errorf("got %v, %v", d, ok)
	}
}
