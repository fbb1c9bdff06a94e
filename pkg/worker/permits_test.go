package worker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/llm/llmtest"
	"github.com/sluicedev/sluice/pkg/quota"
	"github.com/sluicedev/sluice/pkg/upstream"
)

// Three workers and a backlog of three windows' worth: the fleet learns the limit from the first answer's headers, shares
// it, and the provider has little to refuse. A machine that stops for a second in the midst of a call makes its answer look
// older than it is, by a second's calls; pkg/quota shows that else next to nothing is refused.
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
			if refused := counts.ByStatus[429]; refused > 50 {
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
		llmtest.WithScript(llmtest.Script{RPM: 20, WindowMS: 4000, Headers: "off"})) // which a busy machine reaches as well
	f.start(nil, nil)
	f.start(nil, nil)
	f.untilEnded(f.enqueue("ask", hello, 60))
	if n := f.count(`select count(*) from jobs where state = 'done' and attempts = 1`); n != 60 {
		t.Errorf("%d jobs are done with one charged try, want 60", n)
	}
	if s := f.upstream("openai:gpt-5"); s.Requests.Limit == nil || *s.Requests.Limit != 20 {
		t.Errorf("learned %+v", s.Requests)
	}
}

// One upstream at its limit never slows another, with a backlog of its own at the head.
func TestALimitedUpstreamLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5), fast("other", "openai", "gpt-4", 5)})
	empty := &quota.Observation{Readings: [quota.Dimensions]quota.Reading{{Limit: 100, Remaining: 0, Reset: 24 * time.Hour}}}
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
	booked := func() (sum int32) {
		for _, n := range f.quota("openai:gpt-5").Ring.Requests {
			sum += n
		}
		return sum
	}
	stop := f.start(nil, nil)
	f.untilEnded(f.enqueue("ask", hello, 1)) // goes first, without a permit
	paced := int32(0)
	f.until("a chunk is bought", func() bool { // it lasts a second, which a busy machine may miss
		if f.count(`select count(*) from jobs where finished_at is null`) == 0 {
			f.enqueue("ask", hello, 1)
			paced++
		}
		return booked() > paced
	})
	f.until("the last call has ended", func() bool { return f.count(`select count(*) from jobs where finished_at is null`) == 0 })
	stop()
	if n := booked(); n > paced || n == 0 {
		t.Errorf("%d calls are booked after %d were made", n, paced)
	}
}

// A worker pays an upstream at most one visit in half a second, however many calls it makes and however many are refused.
func TestVisitsKeepTheirPace(t *testing.T) {
	t.Parallel()
	for _, headers := range []string{"on", "off"} {
		t.Run("headers "+headers, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)},
				llmtest.WithScript(llmtest.Script{RPM: 30, WindowMS: 3000, Headers: headers}))
			const workers = 2
			for range workers {
				f.start(nil, nil)
			}
			f.untilEnded(f.enqueue("ask", hello, 1)) // the first call has a permit of its own
			visits := func() int64 { return f.count(`select version from upstreams where name = 'openai:gpt-5'`) }
			before, began := visits(), time.Now()
			f.untilEnded(f.enqueue("ask", hello, 90))
			n, took := visits()-before, time.Since(began)
			if most := workers * (int64(took/(500*time.Millisecond)) + 1); n > most || n < 3 {
				t.Errorf("%d visits in %v, want at most %d", n, took, most)
			}
		})
	}
}

// A request for more than the whole limit fails at once. The provider says so, until it was seen to charge what is booked;
// from then on such a request is not sent.
func TestARequestLargerThanTheLimitFailsAtOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)}, llmtest.WithScript(llmtest.Script{TPM: 10_000}))
	ask := func(tokens int) []uuid.UUID {
		return f.enqueue("ask", fmt.Sprintf(`{"input":"hello","request":{"max_output_tokens":%d}}`, tokens), 1)
	}
	f.start(nil, nil)
	f.until("it is seen to charge what is booked", func() bool {
		f.untilEnded(ask(300))
		price := f.quota("openai:gpt-5").Limits[quota.Tokens].Price
		return price.Booked > 700 && price.Charged > 0.9*price.Booked
	})
	calls := f.sim.Counts().Calls
	large := ask(20_000)
	f.untilEnded(large)
	if n := f.sim.Counts().Calls; n != calls {
		t.Errorf("%d calls were made for it", n-calls)
	}
	f.untilEnded(f.enqueue("ask", hello, 1)) // others go on
	var state, sentence, outcome string
	var status *int
	err := f.db.QueryRow(t.Context(), `select j.state, j.last_error, a.outcome, a.status from jobs j join attempts a on a.job_id = j.id
		where j.id = any ($1)`, large).Scan(&state, &sentence, &outcome, &status)
	const want = "the request needs 20000 tokens, and the provider allows 10000 in 1m0s: it can never be sent; make it smaller"
	if err != nil || state != "failed" || outcome != "rejected" || status != nil || sentence != want {
		t.Errorf("%s, %s, %v, %q, %v", state, outcome, status, sentence, err)
	}
}

func TestAProviderIsAskedAboutALargeRequestWhileItsPriceIsUnknown(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)}, llmtest.WithScript(llmtest.Script{TPM: 10_000}))
	f.start(nil, nil)
	f.untilEnded(f.enqueue("ask", hello, 1))
	f.untilEnded(f.enqueue("ask", `{"input":"hello","request":{"max_output_tokens":20000}}`, 1))
	const theirs = `select count(*) from jobs where state = 'failed' and attempts = 1 and last_error like '%Request too large%Limit 10000, Requested 20000%'`
	if n := f.count(theirs); n != 1 {
		t.Errorf("%d jobs failed in the provider's words, want one", n)
	}
}

// Jobs that name no maximum are booked by what their like used before.
func TestBookingsLearnFromUsage(t *testing.T) {
	t.Parallel()
	f := newFleet(t, []jobtype.Type{fast("ask", "openai", "gpt-5", 5)}, llmtest.WithScript(llmtest.Script{TPM: 1_000_000, OutputBytes: 1600}))
	f.start(nil, nil)
	f.untilEnded(f.enqueue("ask", hello, 20))
	f.until("calls are booked at what was used", func() bool {
		f.untilEnded(f.enqueue("ask", hello, 5))
		ring := f.quota("openai:gpt-5").Ring
		for i, calls := range ring.Requests {
			if calls > 0 && ring.Tokens[i]/calls > 350 {
				return true
			}
		}
		return false
	})
}
