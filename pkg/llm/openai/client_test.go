package openai_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/llm"
	"github.com/sluicedev/sluice/pkg/llm/llmtest"
	"github.com/sluicedev/sluice/pkg/llm/openai"
)

const apiKey = "sk-proj-TESTtestTESTtest1234wxyz"

// hello has an input item without "type" and members that no SDK knows, in an order and spelling of its own.
const hello = ` {"model":"gpt-5", "input":[{"role":"user","content":"hi <&> \u00e9"}],"zeta":1e2,"alpha":{"b":1,"a":1.0}}`

func simulator(t *testing.T, script llmtest.Script) (*llmtest.Server, *openai.Client) {
	t.Helper()
	s := llmtest.Start(t, llmtest.WithScript(script), llmtest.KeepBodies())
	return s, openai.New(openai.Config{BaseURL: s.BaseURL(), APIKey: apiKey})
}

// server answers every call by a handler of the test's own.
func server(t *testing.T, handler http.HandlerFunc) *openai.Client {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return openai.New(openai.Config{BaseURL: s.URL + "/v1", APIKey: apiKey})
}

func answering(t *testing.T, contentType, body string) *openai.Client {
	return server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("X-Request-Id", "req_1")
		_, _ = io.WriteString(w, body)
	})
}

func request(body string) llm.Request { return llm.Request{ID: "job/1", Body: []byte(body)} }

const simple = `{"model":"gpt-5","input":"hello"}`

// fails makes a call that must fail, and gives its error.
func fails(t *testing.T, c *openai.Client, r llm.Request) *llm.Error {
	t.Helper()
	res, err := c.Call(t.Context(), r)
	var e *llm.Error
	if !errors.As(err, &e) || res != nil {
		t.Fatalf("response %v, error %v", res, err)
	}
	return e
}

func TestAWholeAnswer(t *testing.T) {
	t.Parallel()
	s, c := simulator(t, llmtest.Script{RPM: 60, TPM: 1000})
	var starts []llm.Start
	r := request(simple)
	r.Started = func(s llm.Start) { starts = append(starts, s) }
	got, err := c.Call(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if got.Status != 200 || got.OutputText != `The simulator read: "hello".` || got.Incomplete != "" || got.RequestID != "req_sim_1" {
		t.Errorf("%+v", got)
	}
	if u := got.Usage; u.InputTokens != 1 || u.OutputTokens != 7 || u.TotalTokens != 8 {
		t.Errorf("usage %+v", u)
	}
	if !strings.HasPrefix(string(got.Raw), `{"id":"resp_sim_1","object":"response",`) {
		t.Errorf("raw %s", got.Raw)
	}
	if got.Header.Get("x-ratelimit-remaining-requests") != "59" {
		t.Errorf("headers %v", got.Header)
	}
	if len(starts) != 1 || starts[0].RequestID != "req_sim_1" || starts[0].Header.Get("x-ratelimit-remaining-requests") != "59" || starts[0].At.IsZero() {
		t.Errorf("starts %+v", starts)
	}
	if calls := s.Calls(); len(calls) != 1 || calls[0].ID != "job/1" || string(calls[0].Body) != `{"stream":true,"model":"gpt-5","input":"hello"}` {
		t.Errorf("calls %+v", calls)
	}
}

// The quota headers are known while the answer is still far from its end.
func TestStartedComesWithTheFirstEvent(t *testing.T) {
	t.Parallel()
	s, c := simulator(t, llmtest.Script{RPM: 60})
	s.HoldMidway()
	started := make(chan llm.Start, 1)
	r := request(simple)
	r.Started = func(s llm.Start) { started <- s }
	ended := make(chan error, 1)
	go func() {
		_, err := c.Call(t.Context(), r)
		ended <- err
	}()
	if got := <-started; got.Header.Get("x-ratelimit-limit-requests") != "60" {
		t.Errorf("headers %v", got.Header)
	}
	if got := s.Counts(); got.InFlight != 1 {
		t.Errorf("the call has ended already: %+v", got)
	}
	s.Release()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTheBodyIsSentByteForByte(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		hello:                ` {"stream":true,"model":"gpt-5", "input":[{"role":"user","content":"hi <&> \u00e9"}],"zeta":1e2,"alpha":{"b":1,"a":1.0}}`,
		`{}`:                 `{"stream":true}`,
		"\n{ }\n":            "\n{\"stream\":true }\n",
		`{"a":1,"a":2}`:      `{"stream":true,"a":1,"a":2}`,
		`{"x":{"stream":0}}`: `{"stream":true,"x":{"stream":0}}`,
	} {
		var got string
		var header http.Header
		c := server(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			got, header = string(b), r.Header
			_, _ = io.WriteString(w, `{"status":"completed","output":[]}`)
		})
		if _, err := c.Call(t.Context(), request(in)); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("sent %q, want %q", got, want)
		}
		if header.Get("Authorization") != "Bearer "+apiKey || header.Get("X-Client-Request-Id") != "job/1" || header.Get("Content-Type") != "application/json" {
			t.Errorf("headers %v", header)
		}
	}
}

func TestWhatCannotBeSentIsNotSent(t *testing.T) {
	t.Parallel()
	s, c := simulator(t, llmtest.Script{})
	for name, r := range map[string]llm.Request{
		"no body":            {},
		"not JSON":           request(`{"a":`),
		"not an object":      request(`[1]`),
		"null":               request(`null`),
		"stream is set":      request(`{"input":"a","stream":false}`),
		"id with a new line": {ID: "a\nb", Body: []byte(simple)},
		"id not ASCII":       {ID: "é", Body: []byte(simple)},
		"id too long":        {ID: strings.Repeat("x", 513), Body: []byte(simple)},
	} {
		if e := fails(t, c, r); e.Kind != llm.Invalid || e.Message == "" {
			t.Errorf("%s: %+v", name, e)
		}
	}
	if s.Count() != 0 {
		t.Errorf("%d calls were sent", s.Count())
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	s, c := simulator(t, llmtest.Script{})
	for mode, want := range map[string]llm.Error{
		"out_of_credit":      {Status: 429, Type: "insufficient_quota", Code: "insufficient_quota", Message: "You exceeded your current quota, please check your plan and billing details."},
		"out_of_credit_type": {Status: 429, Type: "insufficient_quota", Message: "You exceeded your current quota, please check your plan and billing details."},
		"out_of_credit_code": {Status: 429, Code: "insufficient_quota", Message: "You exceeded your current quota, please check your plan and billing details."},
		"model_not_found":    {Status: 404, Type: "invalid_request_error", Code: "model_not_found", Param: "model", Message: "The requested model does not exist or you do not have access to it."},
		"bad_key":            {Status: 401, Message: "Incorrect API key provided: [redacted]. You can find your API key at https://platform.openai.com/account/api-keys."},
		"string_error":       {Status: 503, Message: "overloaded"},
		"html_error":         {Status: 502, Message: "an HTML page, perhaps from a proxy in between"},
		"empty":              {Status: 503, Message: "an empty body"},
	} {
		s.SetMode(mode)
		before := s.Count()
		got := fails(t, c, request(simple))
		if got.Kind != llm.Refused || got.Status != want.Status || got.Type != want.Type || got.Code != want.Code || got.Param != want.Param || got.Message != want.Message {
			t.Errorf("%s: %+v", mode, got)
		}
		if !strings.HasPrefix(got.RequestID, "req_sim_") || got.Header == nil {
			t.Errorf("%s: request id %q, header %v", mode, got.RequestID, got.Header)
		}
		if n := s.Count() - before; n != 1 {
			t.Errorf("%s: %d requests for one call", mode, n)
		}
	}
}

// Even where the server asks for a retry, the call is one request, and what it asked for can be read.
func TestNothingIsRetriedHere(t *testing.T) {
	t.Parallel()
	for _, status := range []int{408, 409, 429, 500, 503} {
		var hits atomic.Int32
		c := server(t, func(w http.ResponseWriter, _ *http.Request) {
			hits.Add(1)
			w.Header().Set("Retry-After", "0")
			w.Header().Set("X-Should-Retry", "true")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"error":{"type":"server_error","message":"no"}}`)
		})
		if e := fails(t, c, request(simple)); e.Status != status || e.Header.Get("Retry-After") != "0" || hits.Load() != 1 {
			t.Errorf("%d: %d hits, %+v", status, hits.Load(), e)
		}
	}
}

func TestShapesOfErrorBodies(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]llm.Error{
		`{"error":{"type":"t","code":400,"param":null,"message":"m"}}`:         {Type: "t", Code: "400", Message: "m"},
		`{"object":"error","type":"BadRequestError","code":400,"message":"m"}`: {Type: "BadRequestError", Code: "400", Message: "m"},
		`{"detail":"Not Found"}`:                 {Message: "Not Found"},
		`{"detail":[{"msg":"bad"}]}`:             {Message: `[{"msg":"bad"}]`},
		`{"error":null,"message":"m"}`:           {Message: "m"},
		`{"error":{"message":"trunc`:             {Message: "truncated or broken JSON"},
		`upstream connect error`:                 {Message: "upstream connect error"},
		`{}`:                                     {},
		`{"error":{"message":"a\u0000b\ud800"}}`: {Message: "a\uFFFDb\uFFFD"},
	} {
		c := server(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			_, _ = io.WriteString(w, body)
		})
		got := fails(t, c, request(simple))
		if got.Kind != llm.Refused || got.Type != want.Type || got.Code != want.Code || got.Message != want.Message || got.Body != body {
			t.Errorf("%s: %+v", body, got)
		}
	}
}

// A refusal is read up to its limit, which this body ends at or passes by one byte, and no further, even if it has no end.
func TestOnlyTheBeginningOfARefusalIsRead(t *testing.T) {
	t.Parallel()
	const head, tail = `{"padding":"`, `","error":{"message":"m"}}`
	for size, want := range map[int]string{64 << 10: "m", 64<<10 + 1: "truncated or broken JSON"} {
		c := server(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			_, _ = io.WriteString(w, head+strings.Repeat("x", size-len(head)-len(tail))+tail)
		})
		if e := fails(t, c, request(simple)); e.Kind != llm.Refused || e.Message != want {
			t.Errorf("%d bytes: %s", size, e)
		}
	}
	closed := make(chan struct{})
	c := server(t, func(w http.ResponseWriter, _ *http.Request) {
		defer close(closed)
		w.WriteHeader(400)
		for err := error(nil); err == nil; {
			_, err = io.WriteString(w, strings.Repeat("x", 64<<10))
		}
	})
	if e := fails(t, c, request(simple)); e.Kind != llm.Refused || e.Status != 400 {
		t.Errorf("without end: %s", e)
	}
	<-closed
}

func TestTheKeyIsInNoErrorText(t *testing.T) {
	t.Parallel()
	odd := "local.9f8e7d6c5b4a3210wxyz"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(401)
		_, _ = fmt.Fprintf(w, "no such key: %s, nor %s...wxyz", odd, odd[:12])
	}))
	t.Cleanup(s.Close)
	c := openai.New(openai.Config{BaseURL: s.URL, APIKey: odd})
	if e := fails(t, c, request(simple)); e.Message != "no such key: [redacted], nor [redacted]" || strings.Contains(e.Body, "local") {
		t.Errorf("%+v", e)
	}
}

func TestWithoutAKeyNoneIsSent(t *testing.T) {
	t.Parallel()
	var header http.Header
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		_, _ = io.WriteString(w, `{"status":"completed","output":[]}`)
	}))
	t.Cleanup(s.Close)
	if _, err := openai.New(openai.Config{BaseURL: s.URL}).Call(t.Context(), llm.Request{Body: []byte(simple)}); err != nil {
		t.Fatal(err)
	}
	if len(header["Authorization"]) != 0 || len(header["X-Client-Request-Id"]) != 0 {
		t.Errorf("headers %v", header)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	var hits atomic.Int32
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	if e := fails(t, c, request(simple)); e.Kind != llm.Malformed || e.Status != 307 || hits.Load() != 1 || !strings.Contains(e.Message, "/elsewhere") {
		t.Errorf("%d hits, %+v", hits.Load(), e)
	}
}

func TestNoAnswerAtAll(t *testing.T) {
	t.Parallel()
	_, c := simulator(t, llmtest.Script{Mode: "reset"})
	if e := fails(t, c, request(simple)); e.Kind != llm.Transport || e.Status != 0 || e.Header != nil || e.Err == nil {
		t.Errorf("reset: %+v", e)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	refused := openai.New(openai.Config{BaseURL: "http://" + l.Addr().String(), APIKey: apiKey})
	if e := fails(t, refused, request(simple)); e.Kind != llm.Transport || !strings.Contains(e.Error(), "could not be reached") {
		t.Errorf("refused: %+v", e)
	}
	unknown := openai.New(openai.Config{BaseURL: "http://no-such-host.invalid/v1", APIKey: apiKey})
	if e := fails(t, unknown, request(simple)); e.Kind != llm.Transport {
		t.Errorf("unknown host: %+v", e)
	}
}

func TestCancellationEndsTheCall(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"hang", "hang_stream"} {
		s, c := simulator(t, llmtest.Script{Mode: mode})
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := c.Call(ctx, request(simple))
			ended <- err
		}()
		if err := s.AwaitCalls(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		cancel(errors.New("the job was cancelled"))
		var e *llm.Error
		if err := <-ended; !errors.As(err, &e) || e.Kind != llm.Canceled || e.Message != "the job was cancelled" {
			t.Errorf("%s: %v", mode, err)
		}
		// The provider sees it too: the connection is gone, not left to run.
		if err := s.AwaitIdle(t.Context()); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

func TestADeadlineIsATimeout(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"hang", "hang_stream"} {
		_, c := simulator(t, llmtest.Script{Mode: mode})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := c.Call(ctx, request(simple))
		cancel()
		var e *llm.Error
		if !errors.As(err, &e) || e.Kind != llm.Timeout || e.Error() != "the call timed out" {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

// Two hundred calls are in flight at once, and the second wave needs no new connection.
func TestManyCallsAtOnceKeepTheirConnections(t *testing.T) {
	t.Parallel()
	const calls = 200
	sim := llmtest.New()
	var dialled atomic.Int32
	s := httptest.NewUnstartedServer(sim)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			dialled.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	c := openai.New(openai.Config{BaseURL: s.URL, APIKey: apiKey})
	wave := func() {
		sim.Hold()
		var all sync.WaitGroup
		for range calls {
			all.Go(func() {
				if _, err := c.Call(t.Context(), request(simple)); err != nil {
					t.Error(err)
				}
			})
		}
		if err := sim.AwaitHeld(t.Context(), calls); err != nil {
			t.Error(err)
		}
		sim.Release()
		all.Wait()
	}
	wave()
	first := dialled.Load()
	wave()
	if second := dialled.Load() - first; first < calls || second > calls/10 {
		t.Errorf("%d connections for the first wave, %d more for the second", first, second)
	}
}
