package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/pg/pgtest"
	"github.com/sluicedev/sluice/pkg/queue"
)

func TestEnqueueAnswersWhatIsKept(t *testing.T) {
	t.Parallel()
	s := open(t)
	a := s.do("POST", "/api/ai/enqueue", `{"type":"kb.ingest","payload":{"input":"x"},"priority":1,"max_attempts":7,"callback_url":"https://app.example/hook?a=1&b=2"}`)
	made := decode[EnqueueResponse](s, a, http.StatusAccepted)
	if a.Header.Get("Location") != made.StatusURL || made.EventsURL != made.StatusURL+"/events" || made.State != StateQueued || made.Waiting == nil {
		t.Errorf("got %s", a.body)
	}
	if a.Header.Get(replayedHeader) != "" {
		t.Error("a new job is called a replay")
	}
	job := decode[Job](s, s.do("GET", made.StatusURL, ""), http.StatusOK)
	if job.ID != made.ID || job.Type != "kb.ingest" || job.Priority != 1 || job.MaxAttempts != 7 || job.Tenant != "default" ||
		*job.CallbackURL != "https://app.example/hook?a=1&b=2" || *job.Upstream != upstreamName || job.IdempotencyKey != nil {
		t.Errorf("got %+v", job)
	}
	if job.ExpiresAt == nil || job.Result != nil || job.Attempts != 0 || job.Lease != 0 {
		t.Errorf("got %+v", job)
	}
}

func TestPayloadIsKeptByteForByte(t *testing.T) {
	t.Parallel()
	s := open(t)
	payload := "{ \"z\" : 1e2,\t\"a\":\"<&> \\u00e9 \U0001F600\", \"input\":\"x\" ,\n \"n\":1.0, \"deep\":[ [ ] ], \"x\":1,\"x\":2 }"
	for name, made := range map[string]string{
		"single": s.enqueue(`{"type":"diary.entry" , "payload" :  ` + payload + ` , "priority":2}`).StatusURL,
		"array":  s.batch(`[ {"payload":`+payload+`,"type":"diary.entry"} ]`, "application/json")[0],
		"ndjson": s.batch(`{"payload":`+strings.ReplaceAll(payload, "\n", "")+`,"type":"diary.entry"}`, "application/x-ndjson")[0],
	} {
		want := payload
		if name == "ndjson" {
			want = strings.ReplaceAll(payload, "\n", "")
		}
		if body := string(s.do("GET", made, "").body); !strings.Contains(body, `"payload":`+want+`,`) {
			t.Errorf("%s: the payload changed: %s", name, body)
		}
	}
}

// batch posts jobs that are accepted, and gives their addresses.
func (s *site) batch(body, mediaType string) []string {
	s.t.Helper()
	ids := decode[BatchResponse](s, s.do("POST", "/api/ai/enqueue/batch", body, "Content-Type", mediaType), http.StatusAccepted).Ids
	paths := make([]string, len(ids))
	for i, id := range ids {
		paths[i] = jobPath(id)
	}
	return paths
}

func TestBatchKeepsTheOrder(t *testing.T) {
	t.Parallel()
	s := open(t)
	var array, lines []string
	for i := range 25 {
		job := fmt.Sprintf(`{"type":"diary.entry","payload":{"input":"job %d"}}`, i)
		array, lines = append(array, job), append(lines, job)
	}
	for _, paths := range [][]string{
		s.batch("["+strings.Join(array, ",")+"]", "application/json"),
		s.batch("\n"+strings.Join(lines, "\r\n\n")+"\n", "application/x-ndjson"),
	} {
		if len(paths) != 25 {
			t.Fatalf("%d ids, want 25", len(paths))
		}
		for i, path := range paths {
			job := decode[Job](s, s.do("GET", path, ""), http.StatusOK)
			if want := fmt.Sprintf(`{"input":"job %d"}`, i); string(job.Payload) != want {
				t.Errorf("job %d has the payload %s", i, job.Payload)
			}
		}
	}
}

func TestLargestBatch(t *testing.T) {
	t.Parallel()
	s := open(t)
	job := plainJob + "\n"
	if got := len(s.batch(strings.Repeat(job, queue.MaxBatch), "application/x-ndjson")); got != queue.MaxBatch {
		t.Errorf("%d ids", got)
	}
	a := s.do("POST", "/api/ai/enqueue/batch", strings.Repeat(job, queue.MaxBatch+1), "Content-Type", "application/x-ndjson")
	if p := s.isProblem(a); a.StatusCode != http.StatusBadRequest || fields(p) != "body" {
		t.Errorf("one too many: %s", a.body)
	}
	if n := s.jobs(); n != queue.MaxBatch {
		t.Errorf("%d jobs are kept", n)
	}
}

func TestLargestPayload(t *testing.T) {
	t.Parallel()
	s := open(t)
	const around = len(`{"input":""}`)
	whole := `{"input":"` + strings.Repeat("x", 1<<20-around) + `"}`
	made := s.enqueue(`{"type":"diary.entry","payload":` + whole + `}`)
	if job := decode[Job](s, s.do("GET", made.StatusURL, ""), http.StatusOK); string(job.Payload) != whole {
		t.Error("the largest payload changed")
	}
	larger := `{"input":"x` + whole[len(`{"input":"`):]
	for path, body := range map[string]string{
		"/api/ai/enqueue":       `{"type":"diary.entry","payload":` + larger + `}`,
		"/api/ai/enqueue/batch": `[` + plainJob + `,{"type":"diary.entry","payload":` + larger + `}]`,
	} {
		if a := s.do("POST", path, body); a.StatusCode != http.StatusRequestEntityTooLarge || !strings.HasSuffix(fields(s.isProblem(a)), "payload") {
			t.Errorf("%s: %d %.200s", path, a.StatusCode, a.body)
		}
	}
	if n := s.jobs(); n != 1 {
		t.Errorf("%d jobs are kept, want 1", n)
	}
}

func TestScheduling(t *testing.T) {
	t.Parallel()
	s := open(t)
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	for _, c := range []struct {
		name, members string
		want          State
	}{
		{"later", `"scheduled_at":"` + in(time.Hour) + `"`, StateDelayed},
		{"with an offset", `"scheduled_at":"` + time.Now().Add(time.Hour).In(time.FixedZone("", 7200)).Format(time.RFC3339) + `"`, StateDelayed},
		{"past", `"scheduled_at":"2001-01-01T00:00:00Z"`, StateQueued},
		{"long past", `"scheduled_at":"0001-01-01T00:00:00Z"`, StateQueued},
		{"delay", `"delay_ms":3600000`, StateDelayed},
		{"no delay", `"delay_ms":0`, StateQueued},
		{"longest delay", `"delay_ms":2592000000`, StateDelayed},
	} {
		made := s.enqueue(`{"type":"diary.entry","payload":{"input":"x"},` + c.members + `}`)
		if made.State != c.want {
			t.Errorf("%s: %s, want %s", c.name, made.State, c.want)
		}
		if c.want == StateDelayed && (made.Waiting == nil || made.Waiting.Reason != WaitingReasonScheduled || made.Waiting.Until == nil) {
			t.Errorf("%s: waiting is %+v", c.name, made.Waiting)
		}
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	s := open(t)
	first := s.enqueue(plainJob, keyHeader, "k,1%zz")
	again := s.do("POST", "/api/ai/enqueue", plainJob, keyHeader, "k,1%zz")
	if got := decode[EnqueueResponse](s, again, http.StatusAccepted); got.ID != first.ID || again.Header.Get(replayedHeader) != "true" {
		t.Errorf("replay: %s %v", again.body, again.Header)
	}
	s.enqueue(plainJob)
	if got := s.enqueue(plainJob, keyHeader, "k,1%zz"); *got.Waiting.Position != 1 {
		t.Errorf("the first in line is told that it is number %d", *got.Waiting.Position)
	}
	if job := decode[Job](s, s.do("GET", first.StatusURL, ""), http.StatusOK); *job.IdempotencyKey != "k,1%zz" {
		t.Errorf("the key changed: %s", *job.IdempotencyKey)
	}
	other := s.do("POST", "/api/ai/enqueue", strings.Replace(plainJob, "Hello", "Bye", 1), keyHeader, "k,1%zz")
	if p := s.isProblem(other); other.StatusCode != http.StatusUnprocessableEntity || fields(p) != keyHeader {
		t.Errorf("another body: %s", other.body)
	}
	inBatch := s.do("POST", "/api/ai/enqueue/batch", `[`+plainJob+`,{"type":"kb.ingest","payload":{"input":"x"},"idempotency_key":"k,1%zz"}]`)
	if p := s.isProblem(inBatch); inBatch.StatusCode != http.StatusUnprocessableEntity || fields(p) != "[1].idempotency_key" {
		t.Errorf("another body in a batch: %s", inBatch.body)
	}
	if got := s.batch(`[{"type":"diary.entry","payload":{"input":"Hello"},"idempotency_key":"k,1%zz"}]`, "application/json")[0]; got != first.StatusURL {
		t.Errorf("the key does not hold in a batch: %s", got)
	}
	if n := s.jobs(); n != 2 {
		t.Errorf("%d jobs, want 2", n)
	}
}

// The trace of a request ends with what became of it.
func TestATraceEndsWithItsRequest(t *testing.T) {
	t.Parallel()
	var ends []error
	s := openWith(t, pgtest.New(t), func(s *Server) {
		s.trace = func(context.Context, http.Header, int) (string, func(error)) {
			return "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", func(err error) { ends = append(ends, err) }
		}
	})
	s.enqueue(plainJob)
	s.do("POST", "/api/ai/enqueue", `{"type":"no.such","payload":{"input":"x"}}`)
	if len(ends) != 2 || ends[0] != nil || ends[1] == nil {
		t.Errorf("they ended with %v", ends)
	}
}

// pieces gives so many bytes, a few at a time, and notes how much room there was for them.
type pieces struct {
	left, come int
	roomiest   float64 // in times of what had come
}

func (p *pieces) Read(into []byte) (int, error) {
	if p.come > 0 {
		p.roomiest = max(p.roomiest, float64(len(into))/float64(p.come))
	}
	if p.left == 0 {
		return 0, io.EOF
	}
	n := min(len(into), p.left, 1000)
	p.left, p.come = p.left-n, p.come+n
	return n, nil
}

// Room for a body comes with its bytes, whatever was promised; and one of the promised length gets no more than that.
func TestRoomForABodyComesWithIt(t *testing.T) {
	t.Parallel()
	const come = 1 << 20
	for _, promised := range []int64{-1, come / 2, come, 32 * come} {
		p := &pieces{left: come}
		body, err := readAll(p, promised)
		if err != nil || len(body) != come || p.roomiest > 5 {
			t.Errorf("of %d promised: %d bytes, %v; there was %.1f times as much room", promised, len(body), err, p.roomiest)
		}
		if promised == come && cap(body) > 2*come {
			t.Errorf("room for %d bytes", cap(body))
		}
	}
}

// Twenty clients send the same key at once, half of them in batches, and with the others' keys in another order.
func TestSameKeyAtTheSameMoment(t *testing.T) {
	t.Parallel()
	s := open(t)
	job := func(key string) string {
		return `{"type":"diary.entry","payload":{"input":"Hello"},"idempotency_key":"` + key + `"}`
	}
	ids := make([]uuid.UUID, 20)
	var clients sync.WaitGroup
	start := make(chan struct{})
	for i := range ids {
		clients.Go(func() {
			<-start
			switch i % 4 {
			case 0:
				ids[i] = decode[BatchResponse](s, s.do("POST", "/api/ai/enqueue/batch", "["+job("a")+","+job("b")+"]"), http.StatusAccepted).Ids[0]
			case 1:
				ids[i] = decode[BatchResponse](s, s.do("POST", "/api/ai/enqueue/batch", "["+job("b")+","+job("a")+","+job("a")+"]"), http.StatusAccepted).Ids[1]
			default:
				ids[i] = s.enqueue(plainJob, keyHeader, "a").ID
			}
		})
	}
	close(start)
	clients.Wait()
	for i, id := range ids {
		if id == uuid.Nil || id != ids[0] {
			t.Errorf("client %d got %s, client 0 %s", i, id, ids[0])
		}
	}
	if n := s.jobs(); n != 2 {
		t.Errorf("%d jobs, want one for each key", n)
	}
}

func TestOpenAPIIsValid(t *testing.T) {
	t.Parallel()
	if err := document().Validate(t.Context(), openapi3.IsOpenAPI31OrLater()); err != nil {
		t.Error(err)
	}
}

func TestBoundsAreOnes(t *testing.T) {
	t.Parallel()
	doc := document()
	envelope := doc.Components.Schemas["EnqueueRequest"].Value.Properties
	batch := doc.Paths.Value("/api/ai/enqueue/batch").Post.RequestBody.Value.Content["application/json"].Schema.Value
	page := doc.Paths.Value("/api/ai/jobs").Get.Parameters.GetByInAndName("query", "limit").Schema.Value
	key := doc.Components.Parameters["IdempotencyKey"].Value.Schema.Value
	for name, got := range map[string][2]float64{
		"priority":        {*envelope["priority"].Value.Max, 10},
		"max_attempts":    {*envelope["max_attempts"].Value.Max, 100},
		"delay_ms":        {*envelope["delay_ms"].Value.Max, float64((30 * 24 * time.Hour).Milliseconds())},
		"callback_url":    {float64(*envelope["callback_url"].Value.MaxLength), queue.MaxCallback},
		"Idempotency-Key": {float64(*key.MaxLength), queue.MaxKey},
		"batch":           {float64(*batch.MaxItems), queue.MaxBatch},
		"page":            {*page.Max, queue.MaxPage},
		"default page":    {page.Default.(float64), queue.DefaultPage},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: openapi.yaml says %v, the code %v", name, got[0], got[1])
		}
	}
}

// The two envelopes differ by the key alone.
func TestEnvelopesAgree(t *testing.T) {
	t.Parallel()
	single := document().Components.Schemas["EnqueueRequest"].Value.Properties
	batch := document().Components.Schemas["BatchJob"].Value.Properties
	if len(batch) != len(single)+1 || batch["idempotency_key"] == nil {
		t.Errorf("%d members in a batch, %d alone", len(batch), len(single))
	}
	for name, schema := range single {
		a, _ := json.Marshal(schema)
		b, _ := json.Marshal(batch[name])
		if string(a) != string(b) {
			t.Errorf("%s: %s alone, %s in a batch", name, a, b)
		}
	}
}

func fields(p Problem) string {
	if p.Errors == nil {
		return ""
	}
	var names []string
	for _, e := range *p.Errors {
		names = append(names, e.Field)
	}
	return strings.Join(names, " ")
}
