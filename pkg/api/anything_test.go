package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/queue"
)

// Whatever is sent to any operation of openapi.yaml, the answer is one that the file declares, a refusal is a problem
// that names the field and tells nothing of the inside, and what is stored is what was accepted. An operation that is
// new in the file is tested with the others; one that needs what nothing here can make fails.
func TestEveryOperationWithstandsAnything(t *testing.T) {
	t.Parallel()
	s := open(t)
	// A running API says the same of a job whatever its state, so the states matter less than that there are jobs.
	w := &world{site: s, kept: map[uuid.UUID]bool{}}
	w.kept[s.enqueue(plainJob).ID] = true
	for _, path := range slices.Sorted(maps.Keys(document().Paths.Map())) {
		item := document().Paths.Value(path)
		for _, method := range slices.Sorted(maps.Keys(item.Operations())) {
			op := item.GetOperation(method)
			t.Run(op.OperationID, func(t *testing.T) {
				w.canMake(t, item, op)
				rapid.Check(t, func(rt *rapid.T) { w.try(rt, method, path, item, op) })
			})
		}
	}
	if len(w.kept) < 5 {
		t.Errorf("only %d jobs were accepted: hardly anything that was tried was valid", len(w.kept))
	}
}

type world struct {
	*site
	kept map[uuid.UUID]bool // every job that was accepted
}

// pathValues make a path's parameters: what is there, and in hostile what is not.
var pathValues = map[string]func(*rapid.T, *world) string{
	"id": func(rt *rapid.T, w *world) string {
		ids := slices.SortedFunc(maps.Keys(w.kept), func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
		return ids[rapid.IntRange(0, min(len(ids), 5)-1).Draw(rt, "job")].String()
	},
	"name": func(*rapid.T, *world) string { return upstreamName },
}

func (w *world) canMake(t *testing.T, item *openapi3.PathItem, op *openapi3.Operation) {
	for _, p := range slices.Concat(item.Parameters, op.Parameters) {
		if p.Value.In == openapi3.ParameterInPath && pathValues[p.Value.Name] == nil {
			t.Fatalf("nothing here makes the path's parameter %s", p.Value.Name)
		}
	}
	if op.RequestBody == nil {
		return
	}
	for mediaType := range op.RequestBody.Value.Content {
		if mediaType != "application/json" && mediaType != ndjsonType {
			t.Fatalf("nothing here makes a body of %s", mediaType)
		}
	}
}

// hostile are texts that somebody downstream may take for more than text.
var hostile = []string{"", " ", "'; drop table jobs; --", `"`, `\`, "$1", "%s%n", "%00", "a\x00b", "a\nb", "a\r\nSet-Cookie: b", "\x1b[31mred\x1b[0m", "\u202egnp.exe",
	"\xff\xfe", "\xed\xa0\x80", "💥", "../../etc/passwd", "<script>alert(1)</script>", "{{7*7}}", "${jndi:ldap://x}", "null", "-1", "0", "1.5", "1e400", "9223372036854775808", "NaN",
	"00000000-0000-0000-0000-000000000000", "{0199f0c1-7f5d-7c55-8f6e-3f1d6f0a2b11}", "0199f0c17f5d7c558f6e3f1d6f0a2b11", strings.Repeat("x", 300), strings.Repeat("é", 5000)}

// chance is true once in about so many draws, or seldomer: rapid prefers what is small, and shrinks to it.
func chance(rt *rapid.T, oneIn int) bool { return rapid.IntRange(1, oneIn).Draw(rt, "chance") == oneIn }

func (w *world) try(rt *rapid.T, method, path string, item *openapi3.PathItem, op *openapi3.Operation) {
	query, headers := url.Values{}, http.Header{}
	for _, ref := range slices.Concat(item.Parameters, op.Parameters) {
		p := ref.Value
		switch p.In {
		case openapi3.ParameterInPath:
			value := pathValues[p.Name](rt, w)
			if chance(rt, 3) {
				value = rapid.SampledFrom(hostile).Draw(rt, p.Name)
			}
			path = strings.Replace(path, "{"+p.Name+"}", url.PathEscape(value), 1)
		case openapi3.ParameterInQuery:
			for range rapid.IntRange(0, 5).Draw(rt, p.Name) / 2 { // mostly one, seldom two
				query.Add(p.Name, parameter(rt, p))
			}
		case openapi3.ParameterInHeader:
			if chance(rt, 2) {
				headers.Set(p.Name, parameter(rt, p))
			}
		}
	}
	if chance(rt, 7) {
		query.Set(rapid.SampledFrom(hostile).Draw(rt, "unknown"), "x")
	}
	rawQuery := query.Encode()
	if chance(rt, 20) {
		rawQuery += "&%zz;"
	}
	var body []byte
	if op.RequestBody != nil || chance(rt, 4) {
		mediaType := "application/json"
		body = []byte("{}")
		if op.RequestBody != nil {
			content := op.RequestBody.Value.Content
			mediaType = rapid.SampledFrom(slices.Sorted(maps.Keys(content))).Draw(rt, "media type")
			body = bodyOf(rt, mediaType, op.RequestBody.Value.Content["application/json"].Schema.Value)
		}
		if chance(rt, 7) {
			mediaType = rapid.SampledFrom([]string{"", "text/plain", "application/json; charset=latin1", "application/json;", "multipart/form-data", "APPLICATION/JSON", "application/x-ndjson", "*/*"}).Draw(rt, "other type")
		}
		headers.Set("Content-Type", mediaType)
	}
	for _, name := range []string{"X-Request-Id", "Prefer", "Content-Encoding", "Origin", "Accept", "X-Forwarded-For", "X-HTTP-Method-Override", "User-Agent", "Range", "Last-Event-ID", "Authorization", "Cookie", "If-None-Match"} {
		if chance(rt, 15) {
			headers.Set(name, rapid.SampledFrom(append(hostile, "wait=5", "gzip", "https://evil.example", "127.0.0.1", "DELETE", "bytes=0-0")).Draw(rt, name))
		}
	}
	w.check(rt, method, path, rawQuery, headers, body, op)
}

// parameter makes a value that its schema allows, or not.
func parameter(rt *rapid.T, p *openapi3.Parameter) string {
	if chance(rt, 3) {
		return rapid.SampledFrom(hostile).Draw(rt, p.Name)
	}
	raw := value(rt, p.Name, p.Schema.Value)
	var text string
	if json.Unmarshal([]byte(raw), &text) == nil {
		return text
	}
	return raw
}

// bodyOf makes a body, mostly one that its schema allows.
func bodyOf(rt *rapid.T, mediaType string, schema *openapi3.Schema) []byte {
	text := value(rt, "body", schema)
	if mediaType == ndjsonType {
		text = strings.ReplaceAll(strings.Trim(text, "[]"), "},{", "}\n{")
	}
	switch flaw := rapid.IntRange(0, 40).Draw(rt, "flaw"); flaw - 20 { // 0 and what is small would come too often
	case 1:
		text = text[:len(text)/2]
	case 2:
		text += text
	case 3:
		text = "\xef\xbb\xbf" + text
	case 4:
		text = rapid.SampledFrom(hostile).Draw(rt, "body")
	case 5:
		text = strings.Repeat("[", 100_000)
	case 6:
		text = strings.Repeat(" ", maxBody+1) + text
	case 7:
		text = "[" + strings.Repeat("1,", queue.MaxBatch) + "1]"
	}
	return []byte(text)
}

// wrong are values that hardly any schema allows.
var wrong = []string{`null`, `true`, `-1`, `0`, `1.5`, `1e0`, `1e400`, `99999999999999999999`, `""`, `"\u0000"`, `"\ud800"`, "\"\xff\"", `[]`, `{}`, `[[[]]]`, `{"a":{"a":1,"a":2}}`,
	strings.Repeat("[", 101) + strings.Repeat("]", 101), strings.Repeat(`{"a":`, 5000), `"` + strings.Repeat("x", 70_000) + `"`, `'x'`, `NaN`, ``, `"open`}

// values make what no schema says.
var values = map[string][]string{
	"type": {`"diary.entry"`, `"kb.ingest"`, `"autopoietic.tick"`},
	"payload": {`{"input":"Hello"}`, `{"messages":[{"role":"user","content":"'; drop table jobs; --"}],"userId":"\u001b[31m"}`, `{"input":"x","request":{"temperature":0.5,"model":"gpt-5"}}`,
		`{"input":"x","request":{"model":"other"}}`, `{"input":"x","request":{"stream":true}}`, `{"input":"x","messages":[]}`, `{"input":"` + strings.Repeat("x", jobtype.MaxPayloadBytes) + `"}`},
	"callback_url": {`"https://app.example/hook?a='1';--"`, `"http://127.0.0.1/"`, `"javascript:alert(1)"`},
	"scheduled_at": {`"2030-01-01T00:00:00Z"`, `"2020-01-01T00:00:00+14:00"`, `"2999-01-01T00:00:00Z"`, `"infinity"`, `"0001-01-01T00:00:00+23:00"`},
	"Prefer":       {`"wait=0"`, `"respond-async, wait=0"`, `"wait=-1; x"`},
	"cursor":       {`"AQGZ8MF_XXxVj24_HW8KKxE"`, `"AgGZ8MF_XXxVj24_HW8KKxE"`, `"AQ"`},
}

// value makes JSON by a schema, now and then with a flaw.
func value(rt *rapid.T, name string, schema *openapi3.Schema) string {
	if chance(rt, 15) {
		return rapid.SampledFrom(wrong).Draw(rt, name)
	}
	switch known := values[name]; {
	case known != nil && chance(rt, 3):
		return rapid.SampledFrom(known).Draw(rt, name)
	case known != nil:
		return known[0]
	case len(schema.Enum) > 0:
		text, _ := json.Marshal(rapid.SampledFrom(schema.Enum).Draw(rt, name))
		return string(text)
	case schema.Type.Is(openapi3.TypeInteger):
		low, high := int64(0), int64(1)
		if schema.Min != nil && schema.Max != nil {
			low, high = int64(*schema.Min), int64(*schema.Max)
		}
		return strconv.FormatInt(rapid.SampledFrom([]int64{low, high, low + 1, (low + high) / 2, low - 1, high + 1}).Draw(rt, name), 10)
	case schema.Type.Is(openapi3.TypeArray):
		var elements []string
		for range rapid.IntRange(0, 4).Draw(rt, name) {
			elements = append(elements, value(rt, name, schema.Items.Value))
		}
		return "[" + strings.Join(elements, ",") + "]"
	case schema.Type.Is(openapi3.TypeObject):
		return object(rt, schema)
	}
	text := rapid.SampledFrom([]string{"k", "key", "🔑", "a'b\"c;\n\u202e", strings.Repeat("k", 255), strings.Repeat("k", 256)}).Draw(rt, name)
	quoted, _ := json.Marshal(text)
	return string(quoted)
}

func object(rt *rapid.T, schema *openapi3.Schema) string {
	var members []string
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		if slices.Contains(schema.Required, name) && !chance(rt, 20) || chance(rt, 4) {
			members = append(members, fmt.Sprintf("%q:%s", name, value(rt, name, schema.Properties[name].Value)))
		}
	}
	if chance(rt, 15) {
		members = append(members, rapid.SampledFrom([]string{`"unknown":1`, `"":1`, `"Type":"x"`, `"__proto__":{}`, `"tenant":"other"`, `"state":"done"`, `"a\u0000":1`, `"'; drop table jobs; --":1`}).Draw(rt, "unknown"))
	}
	if len(members) > 0 && chance(rt, 15) {
		members = append(members, members[0])
	}
	return "{" + strings.Join(members, ",") + "}"
}

// inside is what no client may read.
var inside = regexp.MustCompile(`(?i)pgx|sqlstate|goroutine|panic|runtime error|\.go:\d|sluicedev|violates|relation "|syntax error at or near|pg_catalog|postgres|` +
	regexp.QuoteMeta(checkout()))

// checkout is the folder of the sources, which a stack trace would name.
func checkout() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

func (w *world) check(rt *rapid.T, method, path, query string, headers http.Header, body []byte, op *openapi3.Operation) {
	r, err := http.NewRequest(method, w.url+path, bytes.NewReader(body))
	if err != nil {
		rt.Fatal(err)
	}
	r.URL.RawQuery, r.Header = query, headers
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return // no request that a client would send, such as one with a line break in a header
	}
	defer resp.Body.Close()
	var got []byte
	if resp.Header.Get("Content-Type") == eventStreamType {
		if got, err = bufio.NewReader(resp.Body).ReadBytes('\n'); !bytes.HasPrefix(got, []byte("retry: ")) {
			rt.Errorf("a stream begins with %q", got)
		}
	} else {
		got, err = io.ReadAll(resp.Body)
	}
	if err != nil {
		rt.Fatal(err)
	}
	declared := op.Responses.Status(resp.StatusCode) != nil || resp.StatusCode == http.StatusRequestHeaderFieldsTooLarge // by any, says the file's description
	if resp.StatusCode >= 500 || !declared {
		rt.Errorf("status %d is not among those of %s: %.300s", resp.StatusCode, op.OperationID, got)
	}
	if resp.Header.Get("Set-Cookie") != "" {
		rt.Error("a header of the client's making")
	}
	switch {
	case resp.StatusCode >= 400:
		checkProblem(rt, resp, got)
	case resp.StatusCode == http.StatusAccepted:
		w.keep(rt, got)
	}
	var stored int
	if err := w.pool.QueryRow(r.Context(), `select count(*) from jobs`).Scan(&stored); err != nil || stored != len(w.kept) {
		rt.Fatalf("%d jobs are stored and %d were accepted (%v), after %d %.300s", stored, len(w.kept), err, resp.StatusCode, got)
	}
}

func checkProblem(rt *rapid.T, resp *http.Response, body []byte) {
	var p Problem
	if err := json.Unmarshal(body, &p); err != nil || resp.Header.Get("Content-Type") != problemType ||
		p.Type == "" || p.Title == "" || p.Detail == "" || p.RequestID == "" || p.Status != resp.StatusCode {
		rt.Errorf("no problem: %v, %d %s: %.300s", err, resp.StatusCode, resp.Header.Get("Content-Type"), body)
	}
	named := p.Errors != nil && len(*p.Errors) > 0
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		if !named {
			rt.Errorf("no field is named: %.300s", body)
		}
	}
	if named {
		for _, e := range *p.Errors {
			if e.Field == "" || e.Message == "" {
				rt.Errorf("a field without a name or a word: %.300s", body)
			}
		}
	}
	if found := inside.Find(body); found != nil {
		rt.Errorf("%q is told: %.300s", found, body)
	}
	if len(body) > 16<<10 {
		rt.Errorf("an answer of %d bytes", len(body))
	}
}

func (w *world) keep(rt *rapid.T, body []byte) {
	var accepted struct {
		ID  uuid.UUID
		Ids []uuid.UUID
	}
	if err := json.Unmarshal(body, &accepted); err != nil {
		rt.Fatalf("%v: %.300s", err, body)
	}
	for _, id := range append(accepted.Ids, accepted.ID) {
		if id != uuid.Nil {
			w.kept[id] = true
		}
	}
}
