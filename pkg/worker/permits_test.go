package worker_test

import (
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/llm/llmtest"
	"github.com/sluicedev/sluice/pkg/quota"
	"github.com/sluicedev/sluice/pkg/upstream"
)

// Three workers and a backlog of three windows' worth: the fleet learns the limit from the first answer's headers, shares
// it, and the provider has next to nothing to refuse.
func TestTheFleetSharesOneQuota(t *testing.T) {
	t.Parallel()
	for _, limit := range []struct {
		name   string
		script llmtest.Script
	}{
		{"requests", llmtest.Script{RPM: 100, WindowMS: 4000}},
		{"tokens", llmtest.Script{TPM: 100_000, WindowMS: 4000}},
		{"requests, headers at completion", llmtest.Script{RPM: 100, WindowMS: 4000, LatencyMS: 300}},
	} {
		t.Run(limit.name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)}, llmtest.WithScript(limit.script))
			for range 3 {
				f.start(nil, nil)
			}
			f.untilEnded(f.enqueue("ask", `{"input":"hello","request":{"max_output_tokens":1000}}`, 300))
			counts := f.sim.Counts()
			if refused := counts.ByStatus[429]; refused > 6 {
				t.Errorf("%d of %d calls were refused", refused, counts.Calls)
			}
			if n := f.count(`select count(*) from jobs where state = 'done' and attempts = 1`); n != 300 {
				t.Errorf("%d jobs are done, want 300", n)
			}
			s := f.upstream("openai:gpt-5")
			if dimension := s.Requests; limit.script.RPM > 0 && (dimension.Limit == nil || *dimension.Limit != 100) {
				t.Errorf("learned %+v", dimension)
			}
			if dimension := s.Tokens; limit.script.TPM > 0 && (dimension.Limit == nil || *dimension.Limit != 100_000) {
				t.Errorf("learned %+v", dimension)
			}
		})
	}
}

// Without any header the refusals alone teach the limit; no job pays for the lesson.
func TestTheFleetLearnsFromRefusals(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)},
		llmtest.WithScript(llmtest.Script{RPM: 50, WindowMS: 2000, Headers: "off"}))
	f.start(nil, nil)
	f.start(nil, nil)
	f.untilEnded(f.enqueue("ask", hello, 150))
	if n := f.count(`select count(*) from jobs where state = 'done' and attempts = 1`); n != 150 {
		t.Errorf("%d jobs are done with one charged try, want 150", n)
	}
	if s := f.upstream("openai:gpt-5"); s.Requests.Limit == nil || *s.Requests.Limit != 50 {
		t.Errorf("learned %+v", s.Requests)
	}
}

// One upstream at its limit never slows another, with a backlog of its own at the head.
func TestALimitedUpstreamLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5), fast("other", "openai", "gpt-4", 5)})
	empty := &quota.Observation{Readings: [quota.Dimensions]quota.Reading{{Limit: 100, Remaining: 0, Reset: time.Hour}}}
	if _, _, err := f.upstreams.Visit(t.Context(), "openai:gpt-5", "test", upstream.Visit{Seen: empty}); err != nil {
		t.Fatal(err)
	}
	limited := f.enqueue("ask", hello, 400)
	f.start(nil, nil)
	f.untilEnded(f.enqueue("other", hello, 100))
	// The one call that goes first to an upstream that nobody has heard from needs no permit.
	if n := f.count(`select count(*) from jobs where id = any ($1) and state = 'queued'`, limited); n < 399 {
		t.Errorf("%d of 400 jobs wait for the limit", n)
	}
}

// A worker that stops gives back the permits that it bought and did not use.
func TestAStopReturnsUnspentPermits(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)})
	half := &quota.Observation{Readings: [quota.Dimensions]quota.Reading{{Limit: 6000, Remaining: 3000, Reset: 30 * time.Second}}}
	if _, _, err := f.upstreams.Visit(t.Context(), "openai:gpt-5", "test", upstream.Visit{Seen: half}); err != nil {
		t.Fatal(err)
	}
	booked := func() int64 {
		return f.count(`select sum(n::int) from upstreams, json_array_elements_text(quota->'Ring'->'Requests') n`)
	}
	stop := f.start(nil, nil)
	f.untilEnded(f.enqueue("ask", hello, 1)) // goes first, without a permit
	paced := f.enqueue("ask", hello, 1)
	f.until("a chunk is bought", func() bool { return booked() > 1 })
	f.untilEnded(paced)
	stop()
	if n := booked(); n != 1 {
		t.Errorf("%d calls are booked after one was made", n)
	}
}
