package api

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

const alice, bob = "alice", "bob"

// as sends a request of a tenant's.
func (s *site) as(tenant, method, path, body string, headers ...string) answer {
	s.t.Helper()
	return s.do(method, path, body, append(headers, "X-Tenant", tenant)...)
}

// strangers is a site of two tenants.
func strangers(t testing.TB) *site {
	t.Helper()
	return openWith(t, pgtest.New(t), func(s *Server) { s.tenant = namedTenant })
}

// Every route that takes a job's id, also one that is yet to come, knows no job of another tenant, and says so in the
// words in which it tells of a job that never was.
func TestAnothersJobIsNotThere(t *testing.T) {
	t.Parallel()
	s := strangers(t)
	post := func(body string) uuid.UUID {
		return decode[EnqueueResponse](s, s.as(alice, "POST", "/api/ai/enqueue", body), http.StatusAccepted).ID
	}
	queued, delayed, cancelled := post(plainJob), post(`{"type":"diary.entry","payload":{"input":"x"},"delay_ms":60000}`), post(plainJob)
	decode[Job](s, s.as(alice, "POST", jobPath(cancelled)+"/cancel", ""), http.StatusOK)
	routes := 0
	requestID := regexp.MustCompile(`"request_id":"[^"]*"`)
	for path, item := range document().Paths.Map() {
		if !strings.Contains(path, "{id}") {
			continue
		}
		for method := range item.Operations() {
			routes++
			words := func(id uuid.UUID) string {
				a := s.as(bob, method, strings.Replace(path, "{id}", id.String(), 1), "")
				if a.StatusCode != http.StatusNotFound {
					t.Errorf("%s %s: status %d for another tenant's job", method, path, a.StatusCode)
				}
				return requestID.ReplaceAllString(string(a.body), "")
			}
			never := words(uuid.New())
			for _, id := range []uuid.UUID{queued, delayed, cancelled} {
				if got := words(id); got != never {
					t.Errorf("%s %s tells that there is a job: %s", method, path, got)
				}
			}
		}
	}
	if routes < 4 {
		t.Errorf("only %d routes take an id", routes)
	}
	for id, want := range map[uuid.UUID]State{queued: StateQueued, delayed: StateDelayed, cancelled: StateCancelled} {
		if job := decode[Job](s, s.as(alice, "GET", jobPath(id), ""), http.StatusOK); job.State != want || job.Tenant != alice {
			t.Errorf("%s is %s of %s, want %s", id, job.State, job.Tenant, want)
		}
	}
}

func TestListsAndCountsAreOnesOwn(t *testing.T) {
	t.Parallel()
	s := strangers(t)
	page := func(tenant, query string) JobPage {
		t.Helper()
		return decode[JobPage](s, s.as(tenant, "GET", "/api/ai/jobs"+query, ""), http.StatusOK)
	}
	const batch = "[" + plainJob + "," + plainJob + "," + plainJob + "]"
	decode[BatchResponse](s, s.as(alice, "POST", "/api/ai/enqueue/batch", batch), http.StatusAccepted)
	for _, query := range []string{"", "?state=queued", "?type=diary.entry", "?limit=1"} {
		if got := page(bob, query); len(got.Jobs) != 0 || got.NextCursor != nil {
			t.Errorf("%s shows %+v", query, got)
		}
	}
	if got := decode[Status](s, s.as(bob, "GET", "/api/ai/status", ""), http.StatusOK).Queue; got != (QueueCounts{}) {
		t.Errorf("counts %+v", got)
	}
	if got := decode[Status](s, s.as(alice, "GET", "/api/ai/status", ""), http.StatusOK).Queue; got.Queued != 3 {
		t.Errorf("counts of her own: %+v", got)
	}

	own := decode[EnqueueResponse](s, s.as(bob, "POST", "/api/ai/enqueue", plainJob), http.StatusAccepted)
	theirs := decode[BatchResponse](s, s.as(alice, "POST", "/api/ai/enqueue/batch", batch), http.StatusAccepted)
	first := page(alice, "?limit=1")
	if first.Jobs[0].ID != theirs.Ids[2] {
		t.Fatalf("the first page: %+v", first)
	}
	got := page(bob, "?cursor="+*first.NextCursor)
	if len(got.Jobs) != 1 || got.Jobs[0].ID != own.ID || got.NextCursor != nil {
		t.Errorf("another tenant's cursor shows %+v", got)
	}
}

func TestKeysAreOnesOwn(t *testing.T) {
	t.Parallel()
	s := strangers(t)
	hers := s.as(alice, "POST", "/api/ai/enqueue", plainJob, keyHeader, "k")
	his := s.as(bob, "POST", "/api/ai/enqueue", plainJob, keyHeader, "k")
	if his.Header.Get(replayedHeader) != "" ||
		decode[EnqueueResponse](s, hers, http.StatusAccepted).ID == decode[EnqueueResponse](s, his, http.StatusAccepted).ID {
		t.Errorf("the same key of two tenants: %s %s", hers.body, his.body)
	}
	const carol = "carol"
	other := `[{"type":"kb.ingest","payload":{"input":"x"},"idempotency_key":"k"}]`
	if a := s.as(carol, "POST", "/api/ai/enqueue/batch", other); a.StatusCode != http.StatusAccepted {
		t.Errorf("another request with the key of others: %d", a.StatusCode)
	}
	if a := s.as(alice, "POST", "/api/ai/enqueue", plainJob, keyHeader, "k"); a.Header.Get(replayedHeader) != "true" {
		t.Errorf("her own key: %s", a.body)
	}
}

// How many jobs of others stand in line is theirs to know.
func TestWaitingTellsNoNumbersOfOthers(t *testing.T) {
	t.Parallel()
	s := strangers(t)
	s.exec(`insert into workers (id, types, concurrency) values ('w', '{diary.entry}', 1)`)
	first := decode[EnqueueResponse](s, s.as(bob, "POST", "/api/ai/enqueue", plainJob), http.StatusAccepted)
	if w := first.Waiting; w.Position == nil || *w.Position != 1 {
		t.Errorf("with nobody ahead: %+v", w)
	}
	decode[BatchResponse](s, s.as(alice, "POST", "/api/ai/enqueue/batch", "["+plainJob+","+plainJob+","+plainJob+"]"), http.StatusAccepted)
	second := decode[EnqueueResponse](s, s.as(bob, "POST", "/api/ai/enqueue", plainJob), http.StatusAccepted)
	if w := second.Waiting; w.Position != nil || w.Sentence != "Other jobs are ahead in the line for openai/gpt-5." {
		t.Errorf("behind others: %+v", w)
	}
}
