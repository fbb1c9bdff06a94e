package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sluicedev/sluice/pkg/queue"
)

// Everything that is refused, with the field that the answer has to name. Nothing of it may be stored.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	s := open(t)
	const single, batch = "POST /api/ai/enqueue", "POST /api/ai/enqueue/batch"
	with := func(members string) string { return `{"type":"diary.entry","payload":{"input":"x"},` + members + `}` }
	payload := func(p string) string { return `{"type":"diary.entry","payload":` + p + `}` }
	text := func(v string) string { return payload(`{"input":"` + v + `"}`) }
	for _, c := range []struct {
		name, route, body string
		status            int
		field             string
		headers           []string
	}{
		{"no body", single, "", 400, "body", nil},
		{"no body in a batch", batch, "", 400, "body", nil},
		{"blank body", single, " \n", 400, "body", nil},
		{"not JSON", single, "hello", 400, "body", nil},
		{"cut short", single, `{"type":"diary.entry","payload":{`, 400, "payload", nil},
		{"two values", single, plainJob + plainJob, 400, "body", nil},
		{"array", single, `[]`, 400, "body", nil},
		{"null", single, `null`, 400, "body", nil},
		{"string", single, `"x"`, 400, "body", nil},
		{"empty object", single, `{}`, 400, "type payload", nil},

		{"type missing", single, `{"payload":{"input":"x"}}`, 400, "type", nil},
		{"type of a wrong type", single, `{"type":1,"payload":{"input":"x"}}`, 400, "type", nil},
		{"empty type", single, `{"type":"","payload":{"input":"x"}}`, 400, "type", nil},
		{"unknown type", single, `{"type":"no.such","payload":{"input":"x"}}`, 400, "type", nil},
		{"payload missing", single, `{"type":"diary.entry"}`, 400, "payload", nil},
		{"payload null", single, payload(`null`), 400, "payload", nil},
		{"payload an array", single, payload(`[]`), 400, "payload", nil},
		{"payload a string", single, payload(`"x"`), 400, "payload", nil},
		{"payload without a prompt", single, payload(`{"userId":"u"}`), 400, "payload", nil},
		{"payload with two prompts", single, payload(`{"input":"x","messages":[{}]}`), 400, "payload", nil},
		{"empty messages", single, payload(`{"messages":[]}`), 400, "payload.messages", nil},
		{"stream", single, payload(`{"input":"x","request":{"stream":true}}`), 400, "payload.request.stream", nil},
		{"another model", single, payload(`{"input":"x","request":{"model":"other"}}`), 400, "payload.request.model", nil},

		{"unknown field", single, with(`"prio":1`), 400, "prio", nil},
		{"a field without a name", single, with(`"":1`), 400, `""`, nil},
		{"a field in capitals", single, with(`"Priority":1`), 400, "Priority", nil},
		{"key of a batch alone", single, with(`"idempotency_key":"k"`), 400, "idempotency_key", nil},
		{"twice", single, with(`"priority":1,"priority":2`), 400, "priority", nil},
		{"twice in other spelling", single, with(`"type":"kb.ingest"`), 400, "type", nil},
		{"twice by escape", single, with(`"priority":1,"\u0070riority":2`), 400, "priority", nil},

		{"priority 0", single, with(`"priority":0`), 400, "priority", nil},
		{"priority 11", single, with(`"priority":11`), 400, "priority", nil},
		{"huge priority", single, with(`"priority":99999999999999999999999`), 400, "priority", nil},
		{"priority past any range", single, with(`"priority":1e400`), 400, "priority", nil},
		{"priority a fraction", single, with(`"priority":1.5`), 400, "priority", nil},
		{"priority with an exponent", single, with(`"priority":1e0`), 400, "priority", nil},
		{"priority a string", single, with(`"priority":"1"`), 400, "priority", nil},
		{"priority null", single, with(`"priority":null`), 400, "priority", nil},
		{"max_attempts 0", single, with(`"max_attempts":0`), 400, "max_attempts", nil},
		{"max_attempts 101", single, with(`"max_attempts":101`), 400, "max_attempts", nil},
		{"several at once", single, with(`"max_attempts":101,"priority":0,"x":1`), 400, "max_attempts priority x", nil},

		{"both times", single, with(`"scheduled_at":"2030-01-01T00:00:00Z","delay_ms":1`), 400, "delay_ms", nil},
		{"no time", single, with(`"scheduled_at":"tomorrow"`), 400, "scheduled_at", nil},
		{"no such month", single, with(`"scheduled_at":"2030-13-01T00:00:00Z"`), 400, "scheduled_at", nil},
		{"time without a zone", single, with(`"scheduled_at":"2030-01-01T00:00:00"`), 400, "scheduled_at", nil},
		{"time a number", single, with(`"scheduled_at":1893456000`), 400, "scheduled_at", nil},
		{"too far ahead", single, with(`"scheduled_at":"2999-01-01T00:00:00Z"`), 400, "scheduled_at", nil},
		{"delay too long", single, with(`"delay_ms":2592000001`), 400, "delay_ms", nil},
		{"delay negative", single, with(`"delay_ms":-1`), 400, "delay_ms", nil},
		{"time with an hour of one digit", single, with(`"scheduled_at":"2030-01-01T1:00:00Z"`), 400, "scheduled_at", nil},
		{"time with a comma", single, with(`"scheduled_at":"2030-01-01T01:00:00,5Z"`), 400, "scheduled_at", nil},
		{"time with a zone of a day", single, with(`"scheduled_at":"2026-01-01T01:00:00+24:00"`), 400, "scheduled_at", nil},
		{"before the year 1 in UTC", single, with(`"scheduled_at":"0001-01-01T00:00:00+23:59"`), 400, "scheduled_at", nil},
		{"delay past 64 bits", single, with(`"delay_ms":99999999999999999999`), 400, "delay_ms", nil},
		{"delay past int64", single, with(`"delay_ms":1e300`), 400, "delay_ms", nil},

		{"callback to localhost", single, with(`"callback_url":"http://localhost:9/x"`), 400, "callback_url", nil},
		{"callback in decimal", single, with(`"callback_url":"http://2130706433/"`), 400, "callback_url", nil},
		{"callback of another scheme", single, with(`"callback_url":"ftp://app.example/"`), 400, "callback_url", nil},
		{"callback too long", single, with(`"callback_url":"https://app.example/` + strings.Repeat("x", queue.MaxCallback) + `"`), 400, "callback_url", nil},
		{"callback empty", single, with(`"callback_url":""`), 400, "callback_url", nil},

		{"NUL", single, text(`a\u0000b`), 400, "payload.input", nil},
		{"NUL in a name", single, payload(`{"input":"x","a\u0000":1}`), 400, `payload["a\x00"]`, nil},
		{"NUL in the envelope", single, `{"type":"diary\u0000","payload":{"input":"x"}}`, 400, "type", nil},
		{"high surrogate alone", single, text(`\ud800`), 400, "payload.input", nil},
		{"low surrogate alone", single, text(`\udc00x`), 400, "payload.input", nil},
		{"invalid UTF-8", single, text("\xff"), 400, "payload.input", nil},
		{"overlong UTF-8", single, text("\xc0\xaf"), 400, "payload.input", nil},
		{"a surrogate in UTF-8", single, text("\xed\xa0\x80"), 400, "payload.input", nil},
		{"byte order mark", single, "\xef\xbb\xbf" + plainJob, 400, "body", nil},
		{"number past float64", single, payload(`{"input":"x","n":1e400}`), 400, "payload.n", nil},
		{"number of 400 digits", single, payload(`{"input":"x","n":-` + strings.Repeat("9", 400) + `}`), 400, "payload.n", nil},
		{"101 levels", single, payload(`{"input":"x","n":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`), 400, "payload.n", nil},
		{"100,000 levels", single, strings.Repeat("[", 100_000), 400, "", nil},
		{"100,000 levels of payload", single, payload(strings.Repeat(`{"a":`, 100_000)), 400, "payload", nil},

		{"2 MiB", single, text(strings.Repeat("x", 2<<20)), 413, "body", nil},
		{"40 MiB", batch, "[" + text(strings.Repeat("x", 40<<20)) + "]", 413, "body", nil},

		{"no key", single, plainJob, 400, keyHeader, []string{keyHeader, ""}},
		{"key too long", single, plainJob, 400, keyHeader, []string{keyHeader, strings.Repeat("k", queue.MaxKey+1)}},
		{"key of no UTF-8", single, plainJob, 400, keyHeader, []string{keyHeader, "k\xff"}},

		{"text", single, plainJob, 415, "", []string{"Content-Type", "text/plain"}},
		{"no type", single, plainJob, 415, "", []string{"Content-Type", ""}},
		{"malformed type", single, plainJob, 415, "", []string{"Content-Type", "application/json; ="}},
		{"Latin-1", single, plainJob, 415, "", []string{"Content-Type", "application/json; charset=iso-8859-1"}},
		{"NDJSON for one", single, plainJob, 415, "", []string{"Content-Type", ndjsonType}},
		{"compressed", single, plainJob, 415, "", []string{"Content-Encoding", "gzip"}},
		{"form", batch, "a=b", 415, "", []string{"Content-Type", "application/x-www-form-urlencoded"}},
		{"text to a route without a body", "POST /api/ai/jobs/0199f0c1-7f5d-7c55-8f6e-3f1d6f0a2b11/cancel", "x", 415, "", []string{"Content-Type", "text/plain"}},

		{"empty batch", batch, `[]`, 400, "body", nil},
		{"batch of an object", batch, plainJob, 400, "body", nil},
		{"batch of numbers", batch, `[1]`, 400, "[0]", nil},
		{"batch cut short", batch, `[` + plainJob, 400, "[1]", nil},
		{"second of a batch", batch, `[` + plainJob + `,{"type":"no.such","payload":{"input":"x"}}]`, 400, "[1].type", nil},
		{"second and third", batch, `[` + plainJob + `,{"payload":{}},{"type":"diary.entry","payload":{},"x":1}]`, 400, "[1].type [2].x", nil},
		{"duplicate in a batch", batch, `[` + plainJob + `,` + with(`"priority":1,"priority":1`) + `]`, 400, "[1].priority", nil},
		{"payload in a batch", batch, `[` + plainJob + `,` + payload(`{"messages":1}`) + `]`, 400, "[1].payload.messages", nil},
		{"key in a batch", batch, `[` + plainJob + `,` + with(`"idempotency_key":""`) + `]`, 400, "[1].idempotency_key", nil},
		{"one key, two requests", batch, `[` + with(`"idempotency_key":"k"`) + `,` + with(`"idempotency_key":"k","priority":1`) + `]`, 422, "[1].idempotency_key", nil},
		{"too far ahead in a batch", batch, `[` + plainJob + `,` + with(`"scheduled_at":"2999-01-01T00:00:00Z"`) + `]`, 400, "[1].scheduled_at", nil},
		{"bad line", batch, plainJob + "\n{\n", 400, "[1]", []string{"Content-Type", ndjsonType}},
		{"array in NDJSON", batch, "[" + plainJob + "]", 400, "[0]", []string{"Content-Type", ndjsonType}},

		{"bad id", "GET /api/ai/jobs/7", "", 400, "id", nil},
		{"id with braces", "GET /api/ai/jobs/%7B0199f0c1-7f5d-7c55-8f6e-3f1d6f0a2b11%7D", "", 400, "id", nil},
		{"id of NUL", "GET /api/ai/jobs/%00", "", 400, "id", nil},
		{"bad id to cancel", "POST /api/ai/jobs/x/cancel", "", 400, "id", nil},
		{"bad id to retry", "POST /api/ai/jobs/x/retry", "", 400, "id", nil},
		{"bad id of attempts", "GET /api/ai/jobs/x/attempts", "", 400, "id", nil},
		{"unknown job", "GET /api/ai/jobs/0199f0c1-7f5d-7c55-8f6e-3f1d6f0a2b11", "", 404, "", nil},
		{"attempts of an unknown job", "GET /api/ai/jobs/0199f0c1-7f5d-7c55-8f6e-3f1d6f0a2b11/attempts", "", 404, "", nil},
		{"cancel an unknown job", "POST /api/ai/jobs/0199f0c1-7f5d-7c55-8f6e-3f1d6f0a2b11/cancel", "", 404, "", nil},
		{"retry an unknown job", "POST /api/ai/jobs/0199f0c1-7f5d-7c55-8f6e-3f1d6f0a2b11/retry", "", 404, "", nil},

		{"page of 0", "GET /api/ai/jobs?limit=0", "", 400, "limit", nil},
		{"page of 201", "GET /api/ai/jobs?limit=201", "", 400, "limit", nil},
		{"page of words", "GET /api/ai/jobs?limit=many", "", 400, "limit", nil},
		{"page of nothing", "GET /api/ai/jobs?limit=", "", 400, "limit", nil},
		{"page past int64", "GET /api/ai/jobs?limit=99999999999999999999", "", 400, "limit", nil},
		{"two pages", "GET /api/ai/jobs?limit=1&limit=2", "", 400, "limit", nil},
		{"unknown state", "GET /api/ai/jobs?state=lost", "", 400, "state", nil},
		{"type of no UTF-8", "GET /api/ai/jobs?type=%ff", "", 400, "type", nil},
		{"type of NUL", "GET /api/ai/jobs?type=a%00", "", 400, "type", nil},
		{"bad cursor", "GET /api/ai/jobs?cursor=abc", "", 400, "cursor", nil},
		{"cursor of no base64", "GET /api/ai/jobs?cursor=***", "", 400, "cursor", nil},
		{"cursor of another version", "GET /api/ai/jobs?cursor=AgGZ8MF_XXxVj24_HW8KKxE", "", 400, "cursor", nil},
		{"unknown parameter", "GET /api/ai/jobs?page=2", "", 400, "page", nil},
		{"parameter where none is", "GET /api/ai/status?x=1", "", 400, "x", nil},
		{"parameter without a name", "GET /api/ai/status?=1", "", 400, `""`, nil},
		{"broken query", "GET /api/ai/jobs?state=%zz", "", 400, "query", nil},

		{"unknown upstream", "POST /api/ai/upstreams/openai%3Anone/pause", "", 404, "", nil},
		{"upstream of NUL", "POST /api/ai/upstreams/%00/pause", "", 400, "name", nil},
		{"upstream that climbs", "POST /api/ai/upstreams/%2e%2e/resume", "", 404, "", nil},

		{"unknown route", "GET /api/ai/nothing", "", 404, "", nil},
		{"unknown page", "GET /favicon.ico", "", 404, "", nil},
		{"climbing path", "GET /api/ai/jobs/../../etc", "", 404, "", nil},
		{"climbing, encoded", "GET /api/ai/jobs/%2e%2e/%2e%2e/etc", "", 404, "", nil},
		{"climbing to a job", "GET /api/ai/jobs/..", "", 400, "id", nil},
		{"climbing with slashes", "GET /api/ai/jobs/..%2f..%2fetc", "", 400, "id", nil},
		{"double slash", "GET //api/ai/jobs", "", 404, "", nil},
		{"wrong method", "DELETE /api/ai/jobs", "", 405, "", nil},
		{"GET of an action", "GET /api/ai/enqueue", "", 405, "", nil},
		{"unknown method", "BREW /api/ai/status", "", 405, "", nil},
	} {
		method, path, _ := strings.Cut(c.route, " ")
		a := s.do(method, path, c.body, c.headers...)
		if a.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d: %.300s", c.name, a.StatusCode, c.status, a.body)
			continue
		}
		if p := s.isProblem(a); c.field != "" && !strings.HasPrefix(fields(p), c.field) {
			t.Errorf("%s: names %q, want %q: %.300s", c.name, fields(p), c.field, a.body)
		}
		if a.StatusCode == http.StatusMethodNotAllowed && a.Header.Get("Allow") == "" {
			t.Errorf("%s: no Allow", c.name)
		}
		if len(a.body) > 8<<10 {
			t.Errorf("%s: an answer of %d bytes", c.name, len(a.body))
		}
	}
	if n := s.jobs(); n != 0 {
		t.Errorf("%d jobs are stored, want none", n)
	}
	if log := s.log.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("refused requests are no errors of ours: %s", log)
	}
}

func TestCallbackFault(t *testing.T) {
	t.Parallel()
	for _, good := range []string{
		"https://app.example/hook", "http://app.example:8080/a?b=c", "https://8.8.8.8/", "http://[2606:4700::1111]/x",
		"https://localhost.example/", "https://10.example/", "https://xn--bcher-kva.example/", "https://app.example./",
		"http://134744072/", "http://[::ffff:8.8.8.8]/", "http://[64:ff9b::808:808]/",
	} {
		if fault := callbackFault(good); fault != "" {
			t.Errorf("%s: %s", good, fault)
		}
	}
	for _, bad := range []string{
		"", "/hook", "app.example/hook", "//app.example/hook", "https:app.example", "https://", "https:///x", "ftp://app.example/",
		"file:///etc/passwd", "javascript:alert(1)", "http://user@app.example/", "http://user:pw@app.example/", "http://@app.example/",
		"http://app.example:0/", "http://app.example:65536/", "http://app.example:/", "http://app.example:x/", "http://a b/", "http://%31/", "http://:80/",
		"http://localhost/", "http://LOCALHOST/", "http://localhost./", "http://a.localhost/", "http://127.0.0.1/", "http://127.1/", "http://127.0.0.1./",
		"http://2130706433/", "http://0x7f000001/", "http://0X7F.1/", "http://017700000001/", "http://0177.0.0.1/", "http://0/", "http://0.0.0.0/", "http://0x/",
		"http://10.0.0.1/", "http://172.16.0.1/", "http://192.168.1.1/", "http://3232235777/", "http://169.254.169.254/", "http://0xa9fea9fe/",
		"http://100.64.0.1/", "http://255.255.255.255/", "http://224.0.0.1/", "http://192.0.0.1/", "http://198.18.0.1/", "http://256.0.0.1/", "http://127.0.0.08/", "http://1.2.3.4.5/",
		"http://[::1]/", "http://[::]/", "http://[fe80::1]/", "http://[fe80::1%25eth0]/", "http://[fc00::1]/", "http://[fec0::1]/", "http://[ff02::1]/",
		"http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/",
		"http://１２７.0.0.1/", "http://127。0。0。1/",
	} {
		if callbackFault(bad) == "" {
			t.Errorf("%s: is taken", bad)
		}
	}
}

// Whatever comes is accepted or refused by the rules, and never breaks anything.
func FuzzEnqueue(f *testing.F) {
	for _, seed := range []string{plainJob, "", "{}", "[]", "null", `{"type":"diary.entry","payload":{"messages":[{"role":"user","content":"\ud800"}]}}`,
		`{"type":"kb.ingest","payload":{"input":"x"},"priority":1e400,"scheduled_at":"2030-01-01T00:00:00Z","callback_url":"http://0x7f.1"}`,
		`{"type":"kb.ingest","payload":{"input":"x","n":1e-400,"\u0000":"\xff"},"delay_ms":9e99,"idempotency_key":"k"}`} {
		f.Add(seed, seed, "application/json")
		f.Add("["+seed+"]", "key", "application/json")
		f.Add(seed+"\n"+seed, "key", ndjsonType)
	}
	s := open(f)
	f.Fuzz(func(t *testing.T, body, key, mediaType string) {
		for _, path := range []string{"/api/ai/enqueue", "/api/ai/enqueue/batch"} {
			r, err := http.NewRequestWithContext(t.Context(), "POST", s.url+path, strings.NewReader(body))
			must(t, err)
			r.Header.Set("Content-Type", mediaType)
			r.Header.Set(keyHeader, key)
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				return // no request that the client would send
			}
			resp.Body.Close()
			if resp.StatusCode >= 500 || resp.StatusCode < 202 {
				t.Errorf("%s: status %d", path, resp.StatusCode)
			}
			if got := resp.Header.Get("Content-Type"); resp.StatusCode >= 400 && got != problemType {
				t.Errorf("%s: status %d with %s", path, resp.StatusCode, got)
			}
		}
	})
}
