package llmtest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/llm/llmtest"
)

// clock is moved by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1_700_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// reply is an answer read to its end.
type reply struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

// tryPost posts a request body; the error is that of a connection without an answer.
func tryPost(ctx context.Context, s *llmtest.Server, id, body string) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", s.BaseURL()+"/responses", strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("X-Client-Request-Id", id)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, string(text), err}, nil
}

func post(t *testing.T, s *llmtest.Server, body string) reply {
	t.Helper()
	r, err := tryPost(t.Context(), s, "job/1", body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r reply) problem(t *testing.T) (typ, code, param, message string) {
	t.Helper()
	var b struct {
		Error struct{ Type, Code, Param, Message string }
	}
	if err := json.Unmarshal([]byte(r.body), &b); err != nil {
		t.Fatalf("%s: %v", r.body, err)
	}
	return b.Error.Type, b.Error.Code, b.Error.Param, b.Error.Message
}

func (r reply) quota(dimension string) string {
	var parts []string
	for _, what := range []string{"limit", "remaining", "reset"} {
		parts = append(parts, r.header.Get("x-ratelimit-"+what+"-"+dimension))
	}
	return strings.Join(parts, " ")
}

const hello = `{"model":"gpt-5","input":"hello"}`

func TestObjectAnswer(t *testing.T) {
	t.Parallel()
	s := llmtest.Start(t)
	r := post(t, s, `{"model":"gpt-5","input":[{"role":"system","content":"be kind"},{"role":"user","content":[{"type":"input_text","text":"how are you?"}]}]}`)
	var o struct {
		Object, Status, Model string
		Output                []struct{ Content []struct{ Text string } }
		Usage                 map[string]any
	}
	if err := json.Unmarshal([]byte(r.body), &o); err != nil {
		t.Fatal(err)
	}
	if r.status != 200 || o.Object != "response" || o.Status != "completed" || o.Model != "gpt-5" {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if got := o.Output[0].Content[0].Text; got != `The simulator read: "how are you?".` {
		t.Errorf("output %q", got)
	}
	if o.Usage["input_tokens"].(float64) < 1 || o.Usage["output_tokens"].(float64) < 1 {
		t.Errorf("usage %v", o.Usage)
	}
	if r.header.Get("x-request-id") == "" || r.quota("requests") != "  " {
		t.Errorf("headers %v", r.header)
	}
}

func TestStreamedAnswerHasEveryEventOnceInOrder(t *testing.T) {
	t.Parallel()
	s := llmtest.Start(t, llmtest.WithScript(llmtest.Script{OutputBytes: 5000}))
	r := post(t, s, `{"model":"gpt-5","input":"héllo","stream":true}`)
	var kinds []string
	var text strings.Builder
	lines := bufio.NewScanner(strings.NewReader(r.body))
	for lines.Scan() {
		data, isData := strings.CutPrefix(lines.Text(), "data: ")
		if !isData {
			continue
		}
		var e struct {
			Type, Delta    string
			SequenceNumber int `json:"sequence_number"`
			Response       struct{ Status string }
		}
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if e.SequenceNumber != len(kinds) {
			t.Errorf("%s has number %d, want %d", e.Type, e.SequenceNumber, len(kinds))
		}
		text.WriteString(e.Delta)
		kinds = append(kinds, e.Type)
	}
	want := "response.created response.in_progress response.output_item.added response.content_part.added" +
		strings.Repeat(" response.output_text.delta", 8) +
		" response.output_text.done response.content_part.done response.output_item.done response.completed"
	if got := strings.Join(kinds, " "); got != want {
		t.Errorf("events\n%s\nwant\n%s", got, want)
	}
	if len(text.String()) != 5000 || !strings.HasPrefix(r.header.Get("Content-Type"), "text/event-stream") {
		t.Errorf("%d bytes of text, content type %q", len(text.String()), r.header.Get("Content-Type"))
	}
}

func TestQuotaHeadersAndRefill(t *testing.T) {
	t.Parallel()
	now := newClock()
	s := llmtest.Start(t, llmtest.WithClock(now.Now), llmtest.WithScript(llmtest.Script{RPM: 60, TPM: 150_000, ProjectTPM: 60_000}))
	r := post(t, s, `{"model":"gpt-5","input":"hello","max_output_tokens":3000}`)
	for dimension, want := range map[string]string{
		"requests": "60 59 1s", "tokens": "150000 147000 1.2s", "project-tokens": "60000 57000 3s",
	} {
		if got := r.quota(dimension); got != want {
			t.Errorf("%s: %q, want %q", dimension, got, want)
		}
	}
	now.Advance(time.Second)
	if got := post(t, s, hello).quota("requests"); got != "60 59 1s" {
		t.Errorf("a second later: %q", got)
	}
	if got := post(t, s, `{"model":"gpt-5-mini","input":"hello"}`).quota("requests"); got != "60 59 1s" {
		t.Errorf("another model has a bucket of its own: %q", got)
	}
	if got := s.Levels()["gpt-5"]; got.RequestsRemaining != 59 || got.TokensRemaining != 149_499 {
		t.Errorf("levels %+v", got)
	}
}

func TestChargeIsTheLargerOfMaxOutputAndAQuarterOfTheCharacters(t *testing.T) {
	t.Parallel()
	s := llmtest.Start(t, llmtest.WithScript(llmtest.Script{TPM: 10_000}))
	long := strings.Repeat("é", 3998) // with its quotes, 4,000 characters of input
	post(t, s, `{"model":"gpt-5","input":"`+long+`"}`)
	post(t, s, `{"model":"gpt-5","input":"`+long+`","max_output_tokens":500}`)
	post(t, s, `{"model":"gpt-5","input":"hi","max_output_tokens":500}`)
	var charged []int64
	for _, call := range s.Calls() {
		charged = append(charged, call.Tokens)
	}
	if got := fmt.Sprint(charged); got != "[1000 1000 500]" {
		t.Errorf("charged %s", got)
	}
}

func TestRateLimitReached(t *testing.T) {
	t.Parallel()
	now := newClock()
	s := llmtest.Start(t, llmtest.WithClock(now.Now), llmtest.WithScript(llmtest.Script{RPM: 100, TPM: 10_000}))
	post(t, s, `{"model":"gpt-4","input":"a","max_output_tokens":8554}`)
	r := post(t, s, `{"model":"gpt-4","input":"a","max_output_tokens":3082}`)
	typ, code, _, message := r.problem(t)
	want := "Rate limit reached for gpt-4 in organization org-simulator on tokens per min (TPM): Limit 10000, Used 8554, Requested 3082. " +
		"Please try again in 9.816s. Visit https://platform.openai.com/account/rate-limits to learn more."
	if r.status != 429 || typ != "tokens" || code != "rate_limit_exceeded" || message != want {
		t.Errorf("%d %s", r.status, r.body)
	}
	if got := r.header.Get("Retry-After"); got != "10" {
		t.Errorf("Retry-After %q", got)
	}
	// The refused call costs its request, but no tokens.
	if r.quota("requests") != "100 98 1.2s" || r.quota("tokens") != "10000 1446 51.324s" {
		t.Errorf("requests %q, tokens %q", r.quota("requests"), r.quota("tokens"))
	}
	now.Advance(9816 * time.Millisecond)
	if r := post(t, s, `{"model":"gpt-4","input":"a","max_output_tokens":3082}`); r.status != 200 {
		t.Errorf("after the wait it was told: %d %s", r.status, r.body)
	}
}

func TestRequestLimitPerDay(t *testing.T) {
	t.Parallel()
	now := newClock()
	s := llmtest.Start(t, llmtest.WithClock(now.Now), llmtest.WithScript(llmtest.Script{RPM: 2, WindowMS: (24 * time.Hour).Milliseconds()}))
	post(t, s, hello)
	post(t, s, hello)
	r := post(t, s, hello)
	typ, _, _, message := r.problem(t)
	if typ != "requests" || !strings.Contains(message, "on requests per day (RPD): Limit 2, Used 2, Requested 1. Please try again in 12h0m0s.") {
		t.Errorf("%s", r.body)
	}
	if r.header.Get("Retry-After") != "43200" || r.quota("requests") != "2 0 24h0m0s" {
		t.Errorf("headers %v", r.header)
	}
}

func TestRequestTooLargeForTheLimit(t *testing.T) {
	t.Parallel()
	s := llmtest.Start(t, llmtest.WithScript(llmtest.Script{TPM: 30_000}))
	r := post(t, s, `{"model":"gpt-5","input":"a","max_output_tokens":31538}`)
	_, code, _, message := r.problem(t)
	if r.status != 429 || code != "rate_limit_exceeded" || r.header.Get("Retry-After") != "" ||
		!strings.HasPrefix(message, "Request too large for gpt-5 in organization org-simulator on tokens per min (TPM): Limit 30000, Requested 31538.") {
		t.Errorf("%d %v %s", r.status, r.header, r.body)
	}
}

func TestFailedCallsCostTheirRequest(t *testing.T) {
	t.Parallel()
	now := newClock()
	s := llmtest.Start(t, llmtest.WithClock(now.Now), llmtest.WithScript(llmtest.Script{RPM: 10, TPM: 1000, Mode: "error"}))
	for range 3 {
		post(t, s, hello)
	}
	if got := s.Levels()["gpt-5"]; got.RequestsRemaining != 7 || got.TokensRemaining != 1000 {
		t.Errorf("levels %+v", got)
	}
}

func TestQuotaHeadersOffJunkAndOnlyOnSuccess(t *testing.T) {
	t.Parallel()
	now := newClock()
	for headers, want := range map[string][2]string{ // of the success, of the 429 after it
		"on": {"1 0 1m0s", "1 0 1m0s"}, "off": {"  ", "  "}, "junk": {"-1 -1 0", "-1 -1 0"}, "success": {"1 0 1m0s", "  "},
	} {
		s := llmtest.Start(t, llmtest.WithClock(now.Now), llmtest.WithScript(llmtest.Script{RPM: 1, Headers: headers}))
		ok, refused := post(t, s, hello), post(t, s, hello)
		if got := [2]string{ok.quota("requests"), refused.quota("requests")}; got != want || refused.status != 429 {
			t.Errorf("%s: %q, want %q", headers, got, want)
		}
	}
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	s := llmtest.Start(t)
	for body, want := range map[string][3]string{
		`{"model":`:         {"", "", "parse the JSON body"},
		`[]`:                {"", "", "parse the JSON body"},
		`{"input":"a"}`:     {"missing_required_parameter", "model", "Missing required parameter: 'model'."},
		`{"model":"gpt-5"}`: {"missing_required_parameter", "input", "Missing required parameter: 'input'."},
		`{"model":"gpt-5","input":"a","temprature":1}`:    {"unknown_parameter", "temprature", "Unknown parameter: 'temprature'."},
		`{"model":"gpt-5","input":"a","temperature":"1"}`: {"invalid_type", "temperature", "expected a number, but got a string instead."},
		`{"model":"gpt-5","input":5}`:                     {"invalid_type", "input", "expected a string, but got a number instead."},
		`{"model":"gpt-5","input":"[[sim:nonsense]]"}`:    {"", "input", "unknown mode"},
	} {
		r := post(t, s, body)
		typ, code, param, message := r.problem(t)
		if r.status != 400 || typ != "invalid_request_error" || code != want[0] || param != want[1] || !strings.Contains(message, want[2]) {
			t.Errorf("%s: %d %s", body, r.status, r.body)
		}
	}
}

func TestRefusingModes(t *testing.T) {
	t.Parallel()
	s := llmtest.Start(t)
	for mode, want := range map[string]struct {
		status   int
		contains string
	}{
		"rate_limited":           {429, `"code":"rate_limit_exceeded"`},
		"slow_down":              {429, `"code":"slow_down"`},
		"out_of_credit":          {429, `"code":"insufficient_quota"`},
		"out_of_credit_type":     {429, `"code":null,"message":"You exceeded your current quota`},
		"out_of_credit_code":     {429, `"type":null`},
		"out_of_credit_specific": {429, `"code":"credit_balance_exhausted"`},
		"billing":                {429, `"code":"billing_not_active"`},
		"payment_required":       {402, `Insufficient balance`},
		"bad_key":                {401, `Incorrect API key provided: sk-proj-****`},
		"forbidden":              {403, `unsupported_country`},
		"model_not_found":        {404, `"code":"model_not_found"`},
		"down":                   {503, `"code":"server_is_overloaded"`},
		"error":                  {500, `"type":"server_error"`},
		"string_error":           {503, `{"error":"overloaded"}`},
		"html_error":             {502, `<html>`},
		"html":                   {200, `<html>`},
		"truncated":              {200, `"status":"comp`},
		"empty":                  {503, ``},
		"429":                    {429, `told to refuse this request with 429`},
		"529":                    {529, `server_error`},
	} {
		s.SetMode(mode)
		if r := post(t, s, hello); r.status != want.status || !strings.Contains(r.body, want.contains) {
			t.Errorf("%s: %d %s", mode, r.status, r.body)
		}
	}
}

func TestARequestChoosesItsOwnFateOnlyOnAGoodDay(t *testing.T) {
	t.Parallel()
	s := llmtest.Start(t)
	bad := `{"model":"gpt-5","input":[{"role":"user","content":"please [[sim:400]]"}]}`
	if r := post(t, s, bad); r.status != 400 || !strings.Contains(r.body, "told to refuse this request with 400") {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := post(t, s, `{"model":"gpt-5","input":"a","metadata":{"sim":"model_not_found"}}`); r.status != 404 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := post(t, s, hello); r.status != 200 {
		t.Errorf("its neighbour: %d %s", r.status, r.body)
	}
	s.SetMode("down")
	if r := post(t, s, bad); r.status != 503 {
		t.Errorf("on a bad day: %d %s", r.status, r.body)
	}
}

func TestDecideChoosesByCall(t *testing.T) {
	t.Parallel()
	s := llmtest.Start(t, llmtest.Decide(func(c llmtest.Call) string {
		if c.Number == 1 {
			return "error"
		}
		return ""
	}))
	if a, b := post(t, s, hello), post(t, s, hello); a.status != 500 || b.status != 200 {
		t.Errorf("%d, %d", a.status, b.status)
	}
}

func TestErrorRateIsSeeded(t *testing.T) {
	t.Parallel()
	failures := func(seed uint64) (list []int) {
		s := llmtest.Start(t, llmtest.WithSeed(seed), llmtest.WithScript(llmtest.Script{ErrorRate: 0.3}))
		for i := range 100 {
			if post(t, s, hello).status == 500 {
				list = append(list, i)
			}
		}
		return list
	}
	a, again, other := fmt.Sprint(failures(7)), fmt.Sprint(failures(7)), fmt.Sprint(failures(8))
	if a != again || a == other {
		t.Errorf("seed 7: %s\nagain:  %s\nseed 8: %s", a, again, other)
	}
	if n := len(failures(7)); n < 15 || n > 45 {
		t.Errorf("%d of 100 calls failed at a rate of 0.3", n)
	}
}

func TestStreamsThatEndBadly(t *testing.T) {
	t.Parallel()
	streamed := `{"model":"gpt-5","input":"hello","stream":true}`
	for mode, want := range map[string]struct {
		events    int
		contains  string
		broken    bool // reading the body fails
		delivered bool
	}{
		"cut":          {3, "response.output_item.added", false, false},
		"reset_stream": {3, "response.output_item.added", true, false},
		"error_event":  {4, `"type":"error"`, false, true},
		"stream_error": {4, `data: {"error":{`, false, true},
		"failed":       {3, `"status":"failed"`, false, true},
		"failed_quota": {3, `"code":"rate_limit_exceeded"`, false, true},
		"incomplete":   {15, `"reason":"max_output_tokens"`, false, true},
	} {
		s := llmtest.Start(t, llmtest.WithScript(llmtest.Script{Mode: mode, CutAfter: 3}))
		r := post(t, s, streamed)
		if err := s.AwaitIdle(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(r.body, "data: "); !want.broken && got != want.events { // a reset may overtake data
			t.Errorf("%s: %d events, want %d\n%s", mode, got, want.events, r.body)
		}
		if !want.broken && !strings.Contains(r.body, want.contains) || (r.err != nil) != want.broken {
			t.Errorf("%s: error %v\n%s", mode, r.err, r.body)
		}
		if got := s.Calls()[0]; got.Delivered != want.delivered || got.Mode != mode || got.Status != 200 {
			t.Errorf("%s: logged %+v", mode, got)
		}
	}
}

func TestObjectsThatEndBadly(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]string{
		"failed": `"status":"failed"`, "error_event": `"status":"failed"`, "incomplete": `"status":"incomplete"`,
	} {
		s := llmtest.Start(t, llmtest.WithScript(llmtest.Script{Mode: mode}))
		if r := post(t, s, hello); r.status != 200 || !strings.Contains(r.body, want) {
			t.Errorf("%s: %d %s", mode, r.status, r.body)
		}
	}
	s := llmtest.Start(t, llmtest.WithScript(llmtest.Script{Mode: "cut"}))
	if r, err := tryPost(t.Context(), s, "", hello); err == nil && r.err == nil {
		t.Errorf("cut: %d %s", r.status, r.body)
	}
}

func TestResetAndHang(t *testing.T) {
	t.Parallel()
	s := llmtest.Start(t, llmtest.WithScript(llmtest.Script{Mode: "reset"}))
	if r, err := tryPost(t.Context(), s, "", hello); err == nil {
		t.Errorf("answered %d %s", r.status, r.body)
	}
	s.SetMode("hang")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := tryPost(ctx, s, "", hello)
		ended <- err
	}()
	if err := s.AwaitCalls(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if err := s.AwaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, call := range s.Calls() {
		if call.Status != 0 || call.Delivered || call.EndedAt == 0 {
			t.Errorf("logged %+v", call)
		}
	}
}

func TestHoldKeepsCallsInFlightUntilRelease(t *testing.T) {
	t.Parallel()
	s := llmtest.Start(t)
	for name, hold := range map[string]func(){"before the first byte": s.Hold, "midway": s.HoldMidway} {
		before := s.Counts()
		hold()
		statuses := make(chan int, 3)
		for i := range cap(statuses) {
			go func() {
				r, _ := tryPost(t.Context(), s, fmt.Sprint("job/", i), `{"model":"gpt-5","input":"hi","stream":true}`)
				statuses <- r.status
			}()
		}
		if err := s.AwaitHeld(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
		if got := s.Counts(); got.InFlight != 3 || got.Ended != before.Ended {
			t.Errorf("%s: %+v", name, got)
		}
		s.Release()
		for range cap(statuses) {
			if status := <-statuses; status != 200 {
				t.Errorf("%s: status %d", name, status)
			}
		}
	}
}

// What a held call will be answered was decided as it came, whatever happens meanwhile.
func TestHeldCallsKeepTheirFate(t *testing.T) {
	t.Parallel()
	s := llmtest.Start(t, llmtest.WithScript(llmtest.Script{Mode: "down"}))
	s.Hold()
	status := make(chan int)
	go func() {
		r, _ := tryPost(t.Context(), s, "", hello)
		status <- r.status
	}()
	if err := s.AwaitHeld(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	s.SetMode("healthy")
	s.Release()
	if got := <-status; got != 503 {
		t.Errorf("status %d", got)
	}
}

func TestCallLogAndCounts(t *testing.T) {
	t.Parallel()
	now := newClock()
	s := llmtest.Start(t, llmtest.WithClock(now.Now), llmtest.KeepBodies(), llmtest.MaxCalls(2))
	for i, body := range []string{hello, `{"model":"m","input":"[[sim:404]]"}`, hello} {
		now.Advance(time.Second)
		if _, err := tryPost(t.Context(), s, fmt.Sprintf("job%d/1", i), body); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.AwaitIdle(t.Context()); err != nil {
		t.Fatal(err)
	}
	log := s.Calls()
	if len(log) != 2 || s.Count() != 3 {
		t.Fatalf("%d calls kept, %d counted", len(log), s.Count())
	}
	got := log[0]
	if got.Number != 2 || got.ID != "job1/1" || got.Model != "m" || got.Mode != "404" || got.Status != 404 || !got.Delivered ||
		got.At != 2*time.Second || got.BodyBytes != len(got.Body) || string(got.Body) != `{"model":"m","input":"[[sim:404]]"}` {
		t.Errorf("logged %+v", got)
	}
	if c := s.Counts(); c.Ended != 3 || c.Delivered != 3 || c.ByStatus[200] != 2 || c.ByStatus[404] != 1 || c.InFlight != 0 {
		t.Errorf("counts %+v", c)
	}
}

func TestControlOverHTTP(t *testing.T) {
	t.Parallel()
	s := llmtest.Start(t)
	change := func(body string) (int, llmtest.State) {
		res, err := http.Post(s.URL()+"/control", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		var state llmtest.State
		if err := json.NewDecoder(res.Body).Decode(&state); err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, state
	}
	if status, state := change(`{"mode":"down","rpm":5}`); status != 200 || state.Script.Mode != "down" || state.Script.RPM != 5 {
		t.Errorf("%d %+v", status, state)
	}
	if r := post(t, s, hello); r.status != 503 {
		t.Errorf("down: %d", r.status)
	}
	// Only what is named changes.
	status, state := change(`{"mode":"healthy"}`)
	if status != 200 || state.Script.RPM != 5 || state.Counts.Calls != 1 || state.Quota["gpt-5"].RequestsRemaining != 4 || len(state.Modes) < 20 {
		t.Errorf("%d %+v", status, state)
	}
	for _, bad := range []string{`{"mode":"nonsense"}`, `{"error_rate":2}`, `{"latency_ms":-1}`, `{"rpm":-1}`, `{"headers":"maybe"}`, `{"output_bytes":1e12}`, `{"moed":"down"}`, `{`} {
		if status, _ := change(bad); status != 400 {
			t.Errorf("%s: %d", bad, status)
		}
	}
	if got := s.Script(); got != (llmtest.Script{Mode: "healthy", RPM: 5}) {
		t.Errorf("after bad changes: %+v", got)
	}
	res, err := http.Get(s.URL() + "/control/calls")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var log []llmtest.Call
	if err := json.NewDecoder(res.Body).Decode(&log); err != nil || len(log) != 1 || log[0].ID != "job/1" {
		t.Errorf("log %+v, %v", log, err)
	}
}

func TestUnknownRoutes(t *testing.T) {
	t.Parallel()
	s := llmtest.Start(t)
	for _, path := range []string{"/", "/v1/chat/completions", "/v1/responses"} { // the last by GET
		res, err := http.Get(s.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != 404 && res.StatusCode != 405 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
}

// Close breaks off calls that would hang for ever, and waits for them.
func TestCloseEndsEverything(t *testing.T) {
	t.Parallel()
	s, err := llmtest.Listen("127.0.0.1:0", llmtest.WithScript(llmtest.Script{Mode: "hang"}))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := tryPost(t.Context(), s, "", hello)
		ended <- err
	}()
	if err := s.AwaitCalls(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("the call was answered")
	}
	if got := s.Counts().InFlight; got != 0 {
		t.Errorf("%d calls in flight", got)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

// Latency and delays are waited for in real time; nothing here asserts more than that they pass and are interruptible.
func TestDelaysEndWithTheClient(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]llmtest.Script{
		"latency":        {LatencyMS: 3_600_000},
		"between events": {EventDelayMS: 3_600_000},
	} {
		s := llmtest.Start(t, llmtest.WithScript(script))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = tryPost(ctx, s, "", `{"model":"gpt-5","input":"hello","stream":true}`)
		}()
		if err := s.AwaitCalls(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		cancel()
		<-ended
		if err := s.AwaitIdle(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := s.Calls()[0]; got.Delivered {
			t.Errorf("%s: logged %+v", name, got)
		}
	}
	s := llmtest.Start(t, llmtest.WithScript(llmtest.Script{LatencyMS: 1, JitterMS: 3, EventDelayMS: 1}))
	if r := post(t, s, `{"model":"gpt-5","input":"hello","stream":true}`); !strings.Contains(r.body, "response.completed") {
		t.Errorf("%s", r.body)
	}
}
