package retry

import (
	"errors"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// MaxRetryAfter is the longest wait that is believed. Providers with monthly
// quotas really ask for days ("try again in 114h18m"); nobody means more than a
// month, and a number without an end must not become one.
const MaxRetryAfter = 31 * 24 * time.Hour

// RetryAfter reads from a response's headers how long to wait before the next
// request: retry-after-ms where it makes sense, else Retry-After as seconds
// (fractions allowed) or an HTTP date. A date is measured against the response's
// own Date header, so that the two clocks need not agree, and against now where
// there is none; a date gone by means no wait.
//
// Values that are negative or no number count as not given (false). What is too
// long becomes MaxRetryAfter.
func RetryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	if d, ok := parseNumber(h.Get("Retry-After-Ms"), time.Millisecond); ok {
		return d, true
	}
	value := strings.TrimSpace(h.Get("Retry-After"))
	if d, ok := parseNumber(value, time.Second); ok {
		return d, true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return clamp(at.Sub(now)), true
}

// ParseReset reads the value of an x-ratelimit-reset-* header: a duration as Go
// writes it ("6m0s", "17ms"), with days ("1d2h"), or bare seconds ("33", "0.5").
// Anything else, and anything negative (Azure sends -1 for "unknown"), is false.
// At most MaxRetryAfter.
func ParseReset(s string) (time.Duration, bool) {
	s = strings.TrimSpace(s)
	if d, ok := parseNumber(s, time.Second); ok {
		return d, true
	}
	days, rest, found := strings.Cut(s, "d")
	if !found {
		days, rest = "", s
	}
	var total time.Duration
	if found {
		d, ok := parseNumber(days, 24*time.Hour)
		if !ok {
			return 0, false
		}
		total = d
	}
	if rest == "" {
		return total, found
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 {
		return 0, false
	}
	return clamp(total + min(d, MaxRetryAfter)), true
}

// tryAgain finds the wait in a provider's sentence: "Please try again in
// 1h2m3.5s." (OpenAI), "Please retry after 26 seconds." (Azure).
var tryAgain = regexp.MustCompile(`(?i)(?:try again in|retry after) ` +
	`(?:((?:[0-9]+(?:\.[0-9]+)?(?:ms|[dhms]))+)\b|([0-9]+(?:\.[0-9]+)?) (milliseconds?|seconds?|minutes?|hours?|days?)\b)`)

var unitOf = map[string]time.Duration{
	"millisecond": time.Millisecond, "second": time.Second,
	"minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour,
}

// TryAgainIn reads the wait that a provider put into the message of its error,
// where it often is more exact than the header, or the only one. At most
// MaxRetryAfter; false where the message names none.
func TryAgainIn(message string) (time.Duration, bool) {
	m := tryAgain.FindStringSubmatch(message)
	if m == nil {
		return 0, false
	}
	if m[1] != "" {
		return ParseReset(strings.ToLower(m[1]))
	}
	return parseNumber(m[2], unitOf[strings.TrimSuffix(strings.ToLower(m[3]), "s")])
}

// parseNumber reads a decimal count of units, clamped to MaxRetryAfter.
func parseNumber(s string, unit time.Duration) (time.Duration, bool) {
	s = strings.TrimSpace(s)
	// strconv also takes "Inf", "NaN" and hexadecimal, which no header means.
	if s == "" || strings.Trim(s, "0123456789.eE+-") != "" {
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || n < 0 || math.IsNaN(n) {
		return 0, false
	}
	// Compared as floats: the product may exceed any integer.
	if ns := n * float64(unit); ns < float64(MaxRetryAfter) {
		return time.Duration(ns), true
	}
	return MaxRetryAfter, true
}

func clamp(d time.Duration) time.Duration {
	return min(max(d, 0), MaxRetryAfter)
}
