package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// marker is in every text that is nobody's business but the job's owner's.
const marker = "xyzzy7f3a"

const answered = `event: response.completed
data: {"type":"response.completed","response":{"id":"resp_1","object":"response","status":"completed","model":"gpt-5","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"` + marker + `","annotations":[]}]}],"usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5}}}

`

// talkative is a provider that says the marker whatever it answers.
func talkative(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Request-Id", "req_1")
	if strings.Contains(string(body), "refuse me") {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":{"type":"invalid_request_error","code":"bad","message":"I will not do %s"}}`, marker)
		return
	}
	if strings.Contains(string(body), "fail me") {
		w.WriteHeader(http.StatusInternalServerError)
		io.WriteString(w, marker)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	io.WriteString(w, answered)
}

// Payloads, policies, results, what providers say of them, and keys are in the database, or nowhere: not in the logs at
// their most talkative, nor in the metrics or traces.
func TestNothingThatIsSecretIsTold(t *testing.T) {
	t.Parallel()
	s := start(t)
	provider := httptest.NewServer(http.HandlerFunc(talkative))
	t.Cleanup(provider.Close)
	file := filepath.Join(t.TempDir(), "sluice.yaml")
	policy := "policies:\n  mine: " + marker + "\ntypes:\n  kb.ingest: {policy: mine, max_attempts: 1}\n"
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	port, apiAdmin, workerAdmin := freePort(t), "127.0.0.1:"+freePort(t), "127.0.0.1:"+freePort(t)
	loud := []string{"SLUICE_LOG_LEVEL=debug", "SLUICE_CONFIG=" + file, "DATABASE_URL=" + s.url, "OTEL_TRACES_EXPORTER=console"}
	api := s.run("api", append(loud, "PORT="+port, "SLUICE_ADMIN_ADDR="+apiAdmin)...)
	s.api = "http://127.0.0.1:" + port // of the loud one, from here on
	s.until("the API is ready", func() bool { return s.get(s.api+"/readyz") != "" })
	worker := s.run("worker", append(loud, "OPENAI_BASE_URL="+provider.URL, "OPENAI_API_KEY=sk-"+marker, "SLUICE_ADMIN_ADDR="+workerAdmin)...)

	for _, input := range []string{"please", "refuse me", "fail me"} {
		s.post(map[string]any{"type": "kb.ingest", "payload": map[string]any{"input": input + " " + marker, "userId": marker}})
		s.until("it ended", func() bool { return s.count(`select count(*) from jobs where finished_at is null`) == 0 })
	}
	s.post(map[string]any{"type": "kb.ingest", "payload": map[string]any{"input": marker, "request": map[string]any{"stream": marker}}})

	// It is where it belongs, or this test would show nothing.
	for what, n := range map[string]int{
		`select count(*) from jobs where payload::text like '%xyzzy7f3a%'`:                   3,
		`select count(*) from jobs where result::text like '%xyzzy7f3a%'`:                    1,
		`select count(*) from jobs where state = 'failed' and last_error like '%xyzzy7f3a%'`: 2,
	} {
		if got := s.count(what); got != n {
			t.Errorf("%s: %d, want %d", what, got, n)
		}
	}
	s.until("every attempt is in the log", func() bool { return strings.Count(s.said.String(), "an attempt ended") == 3 })
	metrics := s.get("http://"+apiAdmin+"/metrics") + s.get("http://"+workerAdmin+"/metrics")
	for _, p := range []*process{worker, api} { // which has the last traces sent
		if err := p.terminate(); err != nil {
			t.Error(err)
		}
	}
	said := s.said.String() + metrics
	for _, told := range []string{`"a job was enqueued"`, `"outcome":"ok"`, `"outcome":"rejected"`, `"outcome":"error"`, `"request_id":"req_1"`,
		`"model":"gpt-5"`, "sluice_queue_depth{", "sluice_attempts_total{", `"Name":"chat gpt-5"`, `"Name":"enqueue"`, `"trace_id":"`} {
		if !strings.Contains(said, told) {
			t.Errorf("%s is not told at all", told)
		}
	}
	for line := range strings.Lines(said) {
		if strings.Contains(line, marker) {
			t.Errorf("a secret is told: %s", line)
		}
	}
}

// post enqueues a job, or has it refused.
func (s *system) post(job any) {
	s.t.Helper()
	if _, err := s.do("POST", "/api/ai/enqueue", job, nil); err != nil {
		s.t.Log(err) // the refusal that one of them is meant to meet
	}
}

// get reads a page; "" where it does not answer with 200.
func (s *system) get(url string) string {
	s.t.Helper()
	res, err := http.Get(url)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return ""
	}
	return string(body)
}
