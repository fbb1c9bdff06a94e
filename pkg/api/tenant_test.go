package api

import (
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/key"
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

// What one tenant does to find, count, guess or change another's jobs comes to nothing, and the answers are those of a
// fleet in which the other is not.
func TestHostileTenant(t *testing.T) {
	t.Parallel()
	g := openGuarded(t, asItIs)
	hers := g.key("alice", key.Enqueue, key.Operate)
	his := g.key("bob", key.Enqueue, key.Operate) // all but admin
	keyed := `{"type":"kb.ingest","payload":{"input":"hers"},"callback_url":"https://alice.example/hook"}`
	made := decode[EnqueueResponse](g.site, g.with(hers, "POST", "/api/ai/enqueue", keyed, keyHeader, "order-1"), http.StatusAccepted)
	for range 3 {
		g.enqueueWith(hers, plainJob)
	}
	running := g.enqueueWith(hers, plainJob)
	g.runningOn("w", running.ID)
	page := decode[JobPage](g.site, g.with(hers, "GET", "/api/ai/jobs?limit=2", ""), http.StatusOK)
	before := g.dump()

	notFound := func(a answer) bool { return a.StatusCode == http.StatusNotFound }
	without := func(words ...string) func(answer) bool {
		return func(a answer) bool {
			return a.StatusCode == http.StatusOK && !slices.ContainsFunc(append(words, made.ID.String(), "alice"), func(w string) bool { return strings.Contains(string(a.body), w) })
		}
	}
	job := "/api/ai/jobs/" + made.ID.String()
	for name, row := range map[string]struct {
		method, path string
		refused      func(answer) bool
	}{
		"read":                  {"GET", job, notFound},
		"read the running one":  {"GET", "/api/ai/jobs/" + running.ID.String(), notFound},
		"read in capitals":      {"GET", "/api/ai/jobs/" + strings.ToUpper(made.ID.String()), notFound},
		"attempts":              {"GET", job + "/attempts", notFound},
		"attempts, running":     {"GET", "/api/ai/jobs/" + running.ID.String() + "/attempts", notFound},
		"events":                {"GET", job + "/events", notFound},
		"events, running":       {"GET", "/api/ai/jobs/" + running.ID.String() + "/events", notFound},
		"cancel":                {"POST", job + "/cancel", notFound},
		"cancel the running":    {"POST", "/api/ai/jobs/" + running.ID.String() + "/cancel", notFound},
		"retry":                 {"POST", job + "/retry", notFound},
		"list":                  {"GET", "/api/ai/jobs", without()},
		"list by state":         {"GET", "/api/ai/jobs?state=queued", without()},
		"list by type":          {"GET", "/api/ai/jobs?type=kb.ingest", without()},
		"list with her cursor":  {"GET", "/api/ai/jobs?cursor=" + *page.NextCursor, without()},
		"list before her job":   {"GET", "/api/ai/jobs?cursor=" + cursor(uuid.Max), without()},
		"count":                 {"GET", "/api/ai/status", without(`"queued":1`, `"queued":4`, `"running":1`, `"in_flight":1`)},
		"count by health":       {"GET", "/api/health", without(`"queued":1`, `"queued":4`, `"running":1`)},
		"how old is the oldest": {"GET", "/api/ai/status", func(a answer) bool { return strings.Contains(string(a.body), `"oldest_queued_seconds":0,`) }},
		"metrics":               {"GET", "/metrics", func(a answer) bool { return a.StatusCode == http.StatusForbidden }},
		"pause everybody":       {"POST", "/api/ai/upstreams/openai%3Agpt-5/pause", func(a answer) bool { return a.StatusCode == http.StatusForbidden }},
		"resume everybody":      {"POST", "/api/ai/upstreams/openai%3Agpt-5/resume", func(a answer) bool { return a.StatusCode == http.StatusForbidden }},
	} {
		if a := g.with(his, row.method, row.path, ""); !row.refused(a) {
			t.Errorf("%s: %d: %s", name, a.StatusCode, a.body)
		}
	}
	if after := g.dump(); after != before {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}

	for name, row := range map[string]struct {
		path, body string
		headers    []string
	}{
		"the same request and key":     {"/api/ai/enqueue", keyed, []string{keyHeader, "order-1"}},
		"another request and her key":  {"/api/ai/enqueue", plainJob, []string{keyHeader, "order-1", "X-Request-Id", "x"}},
		"her key in a batch":           {"/api/ai/enqueue/batch", `[{"type":"diary.entry","payload":{"input":"y"},"idempotency_key":"order-1"}]`, nil},
		"a callback to her":            {"/api/ai/enqueue", `{"type":"diary.entry","payload":{"input":"z"},"callback_url":"https://alice.example/hook"}`, nil},
		"her tenant in the payload":    {"/api/ai/enqueue", `{"type":"diary.entry","payload":{"input":"z","tenant":"alice"}}`, nil},
		"her tenant in the envelope":   {"/api/ai/enqueue", `{"type":"diary.entry","payload":{"input":"z"},"tenant":"alice"}`, nil},
		"her tenant in a batch":        {"/api/ai/enqueue/batch", `[{"type":"diary.entry","payload":{"input":"z"},"tenant":"alice"}]`, nil},
		"her id in the envelope":       {"/api/ai/enqueue", `{"type":"diary.entry","payload":{"input":"z"},"id":"` + made.ID.String() + `"}`, nil},
		"her tenant in the query":      {"/api/ai/enqueue?tenant=alice", plainJob, nil},
		"her tenant behind a NUL byte": {"/api/ai/enqueue", plainJob, []string{keyHeader, "order-1\x00"}},
	} {
		// Each has a fresh tenant: what counts is what it learns of hers.
		mallory := g.key("mallory "+name, key.Enqueue, key.Operate)
		r, err := http.NewRequestWithContext(t.Context(), "POST", g.url+row.path, strings.NewReader(row.body))
		must(t, err)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+mallory)
		for i := 0; i < len(row.headers); i += 2 {
			r.Header.Set(row.headers[i], row.headers[i+1])
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			continue // no client sends that
		}
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		resp.Body.Close()
		if resp.Header.Get(replayedHeader) != "" || resp.StatusCode == http.StatusUnprocessableEntity || strings.Contains(string(body), `"id":"`+made.ID.String()) {
			t.Errorf("%s: %d, replayed %q: %s", name, resp.StatusCode, resp.Header.Get(replayedHeader), body)
		}
		jobs := decode[JobPage](g.site, g.with(mallory, "GET", "/api/ai/jobs", ""), http.StatusOK).Jobs
		if accepted := resp.StatusCode == http.StatusAccepted; len(jobs) > 1 || accepted != (len(jobs) == 1) {
			t.Errorf("%s: %d, and these are there: %+v", name, resp.StatusCode, jobs)
		}
	}
	if got := decode[JobPage](g.site, g.with(hers, "GET", "/api/ai/jobs", ""), http.StatusOK); len(got.Jobs) != 5 {
		t.Errorf("she has %d jobs, want 5", len(got.Jobs))
	}
	if a := g.with(hers, "POST", "/api/ai/enqueue", keyed, keyHeader, "order-1"); a.Header.Get(replayedHeader) != "true" {
		t.Errorf("her own key: %s", a.body)
	}
}

// runningOn makes a job run, as a worker's claim would.
func (g guarded) runningOn(worker string, id uuid.UUID) {
	g.t.Helper()
	g.exec(`insert into workers (id, types, concurrency) values ($1, '{diary.entry}', 1)`, worker)
	g.exec(`delete from ready where job_id = $1`, id)
	g.exec(`update jobs set state = 'running', worker = $2, lease = 1, started_at = now(), deadline_at = now() + interval '1 h' where id = $1`, id, worker)
	g.exec(`insert into claims (id, worker, line, job_ids, leases, deadline_at) values (gen_random_uuid(), $2, $3, array[$1::uuid], '{1}', now() + interval '1 h')`, id, worker, upstreamName)
}

// dump is all that a request could have changed.
func (g guarded) dump() (rows string) {
	g.t.Helper()
	must(g.t, g.pool.QueryRow(g.t.Context(), `select string_agg(j::text, e'\n' order by id) || (select string_agg(u::text, e'\n' order by name) from upstreams u) from jobs j`).Scan(&rows))
	return rows
}

// An administrator's numbers are the fleet's, but its jobs are its tenant's.
func TestAdminCountsTheFleet(t *testing.T) {
	t.Parallel()
	g := openGuarded(t, asItIs)
	hers, admin := g.key("alice", key.Enqueue, key.Read), g.key("ops", key.Admin)
	g.enqueueWith(hers, plainJob)
	running := g.enqueueWith(hers, plainJob)
	g.runningOn("w", running.ID)
	for text, want := range map[string]HealthQueue{admin: {Queued: 1, Running: 1}, hers: {Queued: 1, Running: 1}, g.key("bob", key.Read): {}} {
		if got := decode[Health](g.site, g.with(text, "GET", "/api/health", ""), http.StatusOK).Worker.Queue; got != want {
			t.Errorf("health: %+v, want %+v", got, want)
		}
		if got := decode[Status](g.site, g.with(text, "GET", "/api/ai/status", ""), http.StatusOK).Upstreams[0].InFlight; got != want.Running {
			t.Errorf("in flight: %d, want %d", got, want.Running)
		}
	}
	if got := decode[Status](g.site, g.with(admin, "GET", "/api/ai/status", ""), http.StatusOK).Queue; got != (QueueCounts{}) {
		t.Errorf("the administrator's own queue: %+v", got)
	}
	if got := decode[JobPage](g.site, g.with(admin, "GET", "/api/ai/jobs", ""), http.StatusOK); len(got.Jobs) != 0 {
		t.Errorf("the administrator's own jobs: %+v", got)
	}
}
