package e2e

import (
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/llm/llmtest"
)

// Who waits for a limit is told which one, who is ahead, and when his turn comes; and the status tells the same limit.
func TestAJobBehindALimitSaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	s := start(t, llmtest.WithScript(llmtest.Script{RPM: 6}))
	s.worker()
	var last string
	for range 20 {
		last = s.enqueue("diary.entry", "hello")
	}
	type waiting struct {
		Reason, Sentence string
		Until            *time.Time
		Position         int
		EtaSeconds       int `json:"eta_seconds"`
	}
	var w *waiting
	// Every job ahead costs ten seconds, and somewhat more to begin with; less while calls that could start have not.
	s.until("the last job waits for the limit, and for as long as those ahead take", func() bool {
		var job struct{ Waiting *waiting }
		res, err := s.do("GET", "/api/ai/jobs/"+last, nil, &job)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(res, err)
		}
		w = job.Waiting
		return w != nil && w.Reason == "rate_limit" && w.Until != nil &&
			w.EtaSeconds >= 10*(w.Position-1) && w.EtaSeconds <= 10*(w.Position+3)
	})
	sentence := regexp.MustCompile(`^openai/gpt-5 is at its limit of 6 requests per minute; about \d+ jobs are ahead; starts in about \d+ (s|min)\.$`)
	if !sentence.MatchString(w.Sentence) {
		t.Errorf("it says %q", w.Sentence)
	}
	var status struct {
		Upstreams []struct {
			Quota struct {
				Requests struct{ Limit, Remaining *int64 }
			}
		}
	}
	if _, err := s.do("GET", "/api/ai/status", nil, &status); err != nil {
		t.Fatal(err)
	}
	if len(status.Upstreams) != 1 || status.Upstreams[0].Quota.Requests.Limit == nil || *status.Upstreams[0].Quota.Requests.Limit != 6 {
		t.Errorf("the status tells %+v", status)
	}
}
