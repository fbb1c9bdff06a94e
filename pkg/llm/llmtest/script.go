package llmtest

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Script is how the simulator behaves, from now on. Its zero value is a healthy provider without limits, answering at
// once. POST /control changes the members it names.
type Script struct {
	// Mode is what happens to every call: "" or "healthy", another name out of Modes, or an HTTP status ("503").
	Mode string `json:"mode"`

	ErrorRate float64 `json:"error_rate"` // fraction of calls, 0 to 1, that end with a 500 while Mode is healthy

	RPM        int64 `json:"rpm"`         // requests per window and model; 0 is no limit
	TPM        int64 `json:"tpm"`         // tokens per window and model
	ProjectTPM int64 `json:"project_tpm"` // tokens per window and model, told in the project's headers
	WindowMS   int64 `json:"window_ms"`   // of all limits; 0 is a minute

	LatencyMS    int64 `json:"latency_ms"`     // before the first byte of an answer
	JitterMS     int64 `json:"jitter_ms"`      // at most this much more, evenly spread
	EventDelayMS int64 `json:"event_delay_ms"` // after each event of a stream but the last
	OutputBytes  int64 `json:"output_bytes"`   // length of the output text; 0 is one sentence
	CutAfter     int   `json:"cut_after"`      // events before a stream breaks, in the modes that break it; 0 is 2

	Headers    string `json:"headers"`     // quota headers: "" or "on", "off", "junk", or "success" (none on a 429)
	RetryAfter string `json:"retry_after"` // Retry-After of refusals instead of the true one, sent as it is
}

// What the script may ask for at most.
const (
	maxDelay       = time.Hour
	maxOutputBytes = 16 << 20
)

func (s Script) window() time.Duration {
	if s.WindowMS == 0 {
		return time.Minute
	}
	return time.Duration(s.WindowMS) * time.Millisecond
}

func (s Script) cutAfter() int {
	if s.CutAfter == 0 {
		return 2
	}
	return s.CutAfter
}

func (s Script) validate() error {
	if _, err := behaviourOf(s.Mode); err != nil {
		return err
	}
	if s.ErrorRate < 0 || s.ErrorRate > 1 {
		return fmt.Errorf("error_rate %v is not between 0 and 1", s.ErrorRate)
	}
	for name, v := range map[string]int64{"rpm": s.RPM, "tpm": s.TPM, "project_tpm": s.ProjectTPM, "window_ms": s.WindowMS, "cut_after": int64(s.CutAfter)} {
		if v < 0 {
			return fmt.Errorf("%s %d is negative", name, v)
		}
	}
	for name, v := range map[string]int64{"latency_ms": s.LatencyMS, "jitter_ms": s.JitterMS, "event_delay_ms": s.EventDelayMS} {
		if v < 0 || v > maxDelay.Milliseconds() {
			return fmt.Errorf("%s %d is not between 0 and %d", name, v, maxDelay.Milliseconds())
		}
	}
	if s.OutputBytes < 0 || s.OutputBytes > maxOutputBytes {
		return fmt.Errorf("output_bytes %d is not between 0 and %d", s.OutputBytes, maxOutputBytes)
	}
	if modes := []string{"", "on", "off", "junk", "success"}; !slices.Contains(modes, s.Headers) {
		return fmt.Errorf("headers %q is none of %s", s.Headers, strings.Join(modes[1:], ", "))
	}
	return nil
}
