package openai_test

import (
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sluicedev/sluice/pkg/llm"
	"github.com/sluicedev/sluice/pkg/llm/llmtest"
)

func TestIncompleteIsAnAnswerWithAReason(t *testing.T) {
	t.Parallel()
	_, c := simulator(t, llmtest.Script{Mode: "incomplete"})
	got, err := c.Call(t.Context(), request(simple))
	if err != nil || got.Incomplete != "max_output_tokens" || got.OutputText == "" || got.Usage.TotalTokens == 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// All of these come with status 200 and, from the SDK, with no error.
func TestAcceptedAndThenFailed(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]struct {
		kind          llm.Kind
		code, message string
		usage         bool
	}{
		"failed":       {llm.Failed, "server_error", "The model failed to generate a response.", true},
		"failed_quota": {llm.Failed, "rate_limit_exceeded", "Rate limit reached. Please try again in 1s.", true},
		"error_event":  {llm.Failed, "server_error", "The server had an error while streaming.", false},
		"stream_error": {llm.Failed, "", "The server had an error while streaming.", false},
		"cut":          {llm.Cut, "", "the stream ended without a final event", false},
		"reset_stream": {llm.Cut, "", "", false},
		"html":         {llm.Malformed, "", "an HTML page, perhaps from a proxy in between", false},
		"truncated":    {llm.Malformed, "", "truncated or broken JSON", false},
	} {
		s, c := simulator(t, llmtest.Script{Mode: mode, RPM: 60})
		got := fails(t, c, request(simple))
		if got.Kind != want.kind || got.Status != 200 || got.Code != want.code || (want.message != "" && got.Message != want.message) || (got.Usage != nil) != want.usage {
			t.Errorf("%s: %+v", mode, got)
		}
		if got.RequestID != "req_sim_1" || got.Header.Get("x-ratelimit-limit-requests") != "60" || s.Count() != 1 {
			t.Errorf("%s: %d calls, %+v", mode, s.Count(), got)
		}
	}
}

// A failure as the first event is no start: whoever waits for one to trust the provider must not be told.
func TestAFailureIsNoStart(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]int{
		`data: {"type":"error","code":"x","message":"m"}` + "\n\n":                     0,
		`data: {"error":{"message":"m"}}` + "\n\n":                                     0,
		`data: {"type":"response.failed","response":{"status":"failed"}}` + "\n\n":     0,
		`data: {"type":"response.completed","response":{"output":[]}}` + "\n\n":        1,
		`data: {"type":"response.created","response":{}}` + "\n\n":                     1,
		"data: {\"type\":\"response.created\"}\n\ndata: {\"type\":\"response.x\"}\n\n": 1,
		": a comment keeps the line alive\n\n":                                         0,
	} {
		started := 0
		r := request(simple)
		r.Started = func(llm.Start) { started++ }
		_, _ = answering(t, "text/event-stream", body).Call(t.Context(), r)
		if started != want {
			t.Errorf("%s: started %d times, want %d", body, started, want)
		}
	}
}

func TestStreamsOfOtherServers(t *testing.T) {
	t.Parallel()
	const done = `{"output":[{"content":"odd"},{"content":[{"type":"output_text","text":"a"},{"type":"refusal","text":"x"},{"type":"output_text","text":"b\u0000"}]}],"usage":{"input_tokens":-5,"output_tokens":2,"output_tokens_details":{"reasoning_tokens":1}}}`
	for name, body := range map[string]string{
		"no event lines":        "data: {\"type\":\"response.completed\",\"response\":" + done + "}\n\n",
		"carriage returns":      "event: response.completed\r\ndata: {\"type\":\"response.completed\",\"response\":" + done + "}\r\n\r\n",
		"a null error":          "data: {\"type\":\"response.completed\",\"error\":null,\"response\":" + done + "}\n\ndata: [DONE]\n\n",
		"members of odd types":  "data: {\"type\":\"response.created\",\"response\":7,\"sequence_number\":\"x\"}\n\ndata: {\"type\":\"response.completed\",\"response\":" + done + "}\n\n",
		"data after the answer": "data: {\"type\":\"response.completed\",\"response\":" + done + "}\n\ndata: nonsense\n\n",
	} {
		got, err := answering(t, "text/event-stream", body).Call(t.Context(), request(simple))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := llm.Usage{OutputTokens: 2, ReasoningTokens: 1}
		if got.OutputText != "ab\x00" || string(got.Raw) != done || got.Usage != want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestStreamsThatAreNoAnswer(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]llm.Kind{
		"":                 llm.Cut,
		"data: [DONE]\n\n": llm.Cut,
		"data: {\"type\":\"response.completed\",\"response\":{\"output\":[]}}": llm.Cut, // the blank line that ends the event is missing
		"data: nonsense\n\n":                          llm.Malformed,
		"data: {\"type\":\"response.completed\"}\n\n": llm.Malformed,
		"data: {\"type\":\"response.completed\",\"response\":{\"status\":\"queued\"}}\n\n": llm.Malformed,
		"data: {\"type\":\"response.cancelled\",\"response\":{}}\n\n":                      llm.Failed,
	} {
		e := fails(t, answering(t, "text/event-stream; charset=utf-8", body), request(simple))
		if e.Kind != want || e.Status != 200 || e.RequestID != "req_1" || e.Message == "" {
			t.Errorf("%q: %+v", body, e)
		}
	}
}

// Some servers ignore "stream" and send one object.
func TestOneJSONObject(t *testing.T) {
	t.Parallel()
	got, err := answering(t, "application/json", ` {"status":"completed","output":[{"content":[{"type":"output_text","text":"hi"}]}],"n":1e400}`).Call(t.Context(), request(simple))
	if err != nil || got.OutputText != "hi" || !strings.Contains(string(got.Raw), "1e400") {
		t.Errorf("%+v, %v", got, err)
	}
	for body, want := range map[string]llm.Kind{
		`{"status":"failed","error":{"code":"server_error","message":"m"}}`: llm.Failed,
		`{"error":{"code":"x","message":"m"}}`:                              llm.Failed,
		`{"error":"overloaded"}`:                                            llm.Failed,
		`{"status":"in_progress","output":[]}`:                              llm.Malformed,
		`{"choices":[]}`:                                                    llm.Malformed,
		`{}`:                                                                llm.Malformed,
		`null`:                                                              llm.Malformed,
		`[]`:                                                                llm.Malformed,
		``:                                                                  llm.Malformed,
	} {
		if e := fails(t, answering(t, "application/json", body), request(simple)); e.Kind != want || e.Message == "" {
			t.Errorf("%s: %+v", body, e)
		}
	}
}

func TestAnAnswerBeyondTheLimitIsRefused(t *testing.T) {
	t.Parallel()
	megabyte := strings.Repeat("x", 1<<20)
	for contentType, line := range map[string]string{
		"application/json":  megabyte,
		"text/event-stream": `data: {"type":"response.output_text.delta","delta":"` + megabyte + "\"}\n\n",
	} {
		c := server(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			for range 40 {
				if _, err := fmt.Fprint(w, line); err != nil {
					return
				}
			}
		})
		if e := fails(t, c, request(simple)); e.Kind != llm.Malformed || e.Message != "larger than 32 MiB" {
			t.Errorf("%s: %+v", contentType, e)
		}
	}
	endless := server(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(500)
		for r.Context().Err() == nil {
			if _, err := fmt.Fprint(w, megabyte); err != nil {
				return
			}
		}
	})
	if e := fails(t, endless, request(simple)); e.Kind != llm.Refused || e.Status != 500 || len(e.Body) > 8<<10 {
		t.Errorf("endless error: %v", e.Kind)
	}
}

// A few kilobytes on the wire are as many megabytes here: what counts is what has to be held.
func TestWhatUnpacksBeyondTheLimitIsRefused(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]llm.Kind{200: llm.Malformed, 500: llm.Refused} {
		c := server(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(status)
			packed := gzip.NewWriter(w)
			for megabyte := make([]byte, 1<<20); ; {
				if _, err := packed.Write(megabyte); err != nil {
					return
				}
			}
		})
		if e := fails(t, c, request(simple)); e.Kind != want || len(e.Body) > 8<<10 {
			t.Errorf("%d: %+v", status, e)
		}
	}
}

// A provider that fails in the middle of saying so has failed: it is told by its status, long before the call's own time is over.
func TestARefusalWhoseBodyNeverEndsIsOne(t *testing.T) {
	t.Parallel()
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(503)
		_, _ = fmt.Fprint(w, `{"error":{"code":"overloaded"}}`)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	if e := fails(t, c, request(simple)); e.Kind != llm.Refused || e.Status != 503 || e.Code != "overloaded" || e.Header.Get("Retry-After") != "7" {
		t.Errorf("%+v", e)
	}
}

// What came of a refusal before the connection broke still tells what it means: of two 429s, one needs a person.
func TestARefusalThatIsCutKeepsItsWords(t *testing.T) {
	t.Parallel()
	c := server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(429)
		_, _ = fmt.Fprint(w, `{"error":{"code":"insufficient_quota"}}`)
	})
	if e := fails(t, c, request(simple)); e.Kind != llm.Refused || e.Status != 429 || e.Code != "insufficient_quota" {
		t.Errorf("%+v", e)
	}
}

// A server that leaves its stream open after the final event delays nothing for long, and costs no answer.
func TestAStreamLeftOpenAfterItsEnd(t *testing.T) {
	t.Parallel()
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprint(w, "data: {\"type\":\"response.completed\",\"response\":{\"output\":[]}}\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	if got, err := c.Call(t.Context(), request(simple)); err != nil || string(got.Raw) != `{"output":[]}` {
		t.Errorf("%+v, %v", got, err)
	}
}
