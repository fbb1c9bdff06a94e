package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/pkg/key"
	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

// guarded is a site that asks for keys.
type guarded struct {
	*site
	store *key.Store
}

func openGuarded(t testing.TB, change func(*Server), origins ...string) guarded {
	t.Helper()
	return openGuardedOn(t, pgtest.New(t), change, origins...)
}

func openGuardedOn(t testing.TB, pool *pgxpool.Pool, change func(*Server), origins ...string) guarded {
	t.Helper()
	store := key.NewStore(pool)
	return guarded{openWith(t, pool, func(s *Server) {
		s.keys = key.NewRing(store, slog.New(slog.DiscardHandler))
		change(s)
	}, origins...), store}
}

func asItIs(*Server) {}

// key makes one and gives its text.
func (g guarded) key(tenant string, scopes ...key.Scope) string {
	g.t.Helper()
	_, text, err := g.store.Create(g.t.Context(), key.Order{Tenant: tenant, Name: "test", Scopes: scopes})
	must(g.t, err)
	return text
}

// with sends a request that shows a key.
func (g guarded) with(text, method, path, body string, headers ...string) answer {
	g.t.Helper()
	return g.do(method, path, body, append(headers, "Authorization", "Bearer "+text)...)
}

func (g guarded) enqueueWith(text, body string) EnqueueResponse {
	g.t.Helper()
	return decode[EnqueueResponse](g.site, g.with(text, "POST", "/api/ai/enqueue", body), http.StatusAccepted)
}

// neededScopes says once more which scope each operation needs, so that to open one is a decision. "" is open to all.
var neededScopes = map[string]key.Scope{
	"enqueue": key.Enqueue, "enqueueBatch": key.Enqueue,
	"listJobs": key.Read, "getJob": key.Read, "listAttempts": key.Read, "getStatus": key.Read, "listTypes": key.Read, "getJobEvents": key.Read, "getStatusEvents": key.Read, "getHealth": key.Read,
	"cancelJob": key.Operate, "retryJob": key.Operate,
	"pauseUpstream": key.Admin, "resumeUpstream": key.Admin, "getMetrics": key.Admin,
	"getLive": "", "getReady": "",
}

// Each scope against each operation, also one that is yet to come.
func TestScopesOfEveryOperation(t *testing.T) {
	t.Parallel()
	g := openGuarded(t, asItIs)
	keys := map[key.Scope]string{}
	for _, scope := range key.Scopes {
		keys[scope] = g.key("acme", scope)
	}
	fill := strings.NewReplacer("{id}", uuid.NewString(), "{name}", url.PathEscape(upstreamName))
	for path, item := range document().Paths.Map() {
		for method, op := range item.Operations() {
			needed, known := neededScopes[op.OperationID]
			if !known || op.Security == nil {
				t.Errorf("%s %s: decide who may do this, in openapi.yaml and here", method, path)
				continue
			}
			status := func(text string) int { return g.head(method, fill.Replace(path), text) }
			if got := status(""); (got == http.StatusUnauthorized) != (needed != "") {
				t.Errorf("%s %s without a key: %d", method, path, got)
			}
			for scope, text := range keys {
				allowed := needed == "" || key.Allow([]key.Scope{scope}, needed)
				if got := status(text); (got == http.StatusForbidden) == allowed || got == http.StatusUnauthorized || got >= 500 {
					t.Errorf("%s %s with %s: %d, and it needs %q", method, path, scope, got, needed)
				}
			}
		}
	}
	if n := g.jobs(); n != 0 {
		t.Errorf("%d jobs were made", n)
	}
}

// head sends a request and gives the status of its answer, which may be a stream without an end.
func (g guarded) head(method, path, text string) int {
	g.t.Helper()
	r, err := http.NewRequestWithContext(g.t.Context(), method, g.url+path, nil)
	must(g.t, err)
	if text != "" {
		r.Header.Set("Authorization", "Bearer "+text)
	}
	resp, err := http.DefaultClient.Do(r)
	must(g.t, err)
	resp.Body.Close()
	return resp.StatusCode
}

// No route under /api, and no other that tells of jobs, is outside of openapi.yaml, where it would be open.
func TestEveryRouteIsInTheContract(t *testing.T) {
	t.Parallel()
	s := open(t).server
	for _, route := range s.echo.Routes() {
		_, known := s.contract.operations[route.Method+" "+route.Path]
		if page := route.Method == http.MethodGet && !strings.HasPrefix(route.Path, "/api") && !strings.HasPrefix(route.Path, "/metrics"); !known && !page {
			t.Errorf("%s %s is not in openapi.yaml, and open to all", route.Method, route.Path)
		}
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	g := openGuarded(t, asItIs)
	none := g.do("GET", "/api/ai/jobs", "")
	if got := none.Header.Get("WWW-Authenticate"); none.StatusCode != http.StatusUnauthorized || got != `Bearer realm="sluice"` {
		t.Errorf("without a key: %d, %s", none.StatusCode, got)
	}
	reader := g.key("acme", key.Read)
	lacks := g.with(reader, "POST", "/api/ai/jobs/"+uuid.NewString()+"/cancel", "")
	p := g.isProblem(lacks)
	if got := lacks.Header.Get("WWW-Authenticate"); lacks.StatusCode != http.StatusForbidden || p.Type != "urn:sluice:problem:insufficient_scope" ||
		p.Detail != "this needs a key with the scope operate" || got != `Bearer realm="sluice", error="insufficient_scope", scope="operate"` {
		t.Errorf("without the scope: %d, %s, %+v", lacks.StatusCode, got, p)
	}
	if a := g.do("GET", "/no/such/path", ""); a.StatusCode != http.StatusNotFound {
		t.Errorf("what leads nowhere: %d", a.StatusCode)
	}
}

// rows of requests that no key stands behind.
func TestHostileAuthorization(t *testing.T) {
	t.Parallel()
	g := openGuarded(t, asItIs)
	good := g.key("acme", key.Admin)
	id, _, _ := key.Parse(good)
	made := g.enqueueWith(good, plainJob)
	revoked, expired, other := g.key("acme", key.Admin), g.key("acme", key.Admin), g.key("acme", key.Admin)
	revokedID, _, _ := key.Parse(revoked)
	_, err := g.store.Revoke(t.Context(), revokedID)
	must(t, err)
	expiredID, _, _ := key.Parse(expired)
	g.exec(`update api_keys set created_at = now() - interval '3 h', expires_at = now() - interval '2 h' where id = $1`, expiredID)
	flipped := []byte(good)
	flipped[40] ^= 1
	cut := strings.LastIndex(good, "_")

	const bearer = "Authorization: Bearer "
	rows := map[string]string{ // the headers as they go over the wire
		"no header":                "",
		"an empty header":          "Authorization: ",
		"scheme alone":             "Authorization: Bearer",
		"scheme and a space":       "Authorization: Bearer ",
		"key without a scheme":     "Authorization: " + good,
		"Basic":                    "Authorization: Basic " + good,
		"Basic, encoded":           "Authorization: Basic c2x1aWNlOnNlY3JldA==",
		"Digest":                   "Authorization: Digest " + good,
		"Token":                    "Authorization: Token " + good,
		"Bearer in one word":       "Authorization: Bearer" + good,
		"Bearer and a tab":         "Authorization: Bearer\t" + good,
		"Bearer and two spaces":    "Authorization: Bearer  " + good,
		"Bearer twice":             "Authorization: Bearer Bearer " + good,
		"two words":                bearer + good + " x",
		"comma and another":        bearer + good + ", Bearer " + other,
		"comma":                    bearer + good + ",",
		"quoted":                   bearer + `"` + good + `"`,
		"a parameter":              "Authorization: Bearer token=" + good,
		"percent-encoded":          bearer + strings.Replace(good, "_", "%5F", 1),
		"upper case":               bearer + strings.ToUpper(good),
		"NUL in it":                bearer + good[:20] + "\x00" + good[20:],
		"NUL after it":             bearer + good + "\x00",
		"invalid UTF-8":            bearer + good[:20] + "\xff\xfe" + good[22:],
		"a look-alike":             bearer + strings.Replace(good, "sluice", "ѕluice", 1),
		"a no-break space":         bearer + "\u00a0" + good,
		"one bit flipped":          bearer + string(flipped),
		"truncated by one":         bearer + good[:len(good)-1],
		"truncated by ten":         bearer + good[:len(good)-10],
		"beginning cut":            bearer + good[1:],
		"id alone":                 bearer + id,
		"without its secret":       bearer + good[:cut+1],
		"one character more":       bearer + good + "a",
		"the key twice":            bearer + good + good,
		"1 KiB more":               bearer + good + strings.Repeat("a", 1<<10),
		"oversized":                bearer + strings.Repeat("a", maxHeader/2),
		"another's secret":         bearer + good[:cut+1] + other[strings.LastIndex(other, "_")+1:],
		"made up":                  bearer + madeUp(t),
		"revoked":                  bearer + revoked,
		"expired":                  bearer + expired,
		"duplicated":               bearer + good + "\r\n" + bearer + good,
		"duplicated, bad one last": bearer + good + "\r\n" + bearer + "x",
		"duplicated, good last":    bearer + "x\r\n" + bearer + good,
		"duplicated, other case":   bearer + good + "\r\nauthorization: Bearer " + good,
		"with an empty one":        "Authorization: \r\n" + bearer + good,
		"folded":                   bearer + good[:20] + "\r\n " + good[20:],
		"space before the colon":   "Authorization : Bearer " + good,
		"of the proxy":             "Proxy-Authorization: Bearer " + good,
		"under another name":       "X-Authorization: Bearer " + good,
		"with an underscore":       "Author_ization: Bearer " + good,
		"X-API-Key":                "X-API-Key: " + good,
		"a cookie":                 "Cookie: Authorization=Bearer%20" + good + "; key=" + good,
	}
	for name, headers := range rows {
		for _, path := range []string{"GET /api/ai/jobs", "POST " + made.StatusURL + "/cancel", "GET /metrics", "GET /api/health"} {
			a := g.raw(path, headers)
			if a.StatusCode != http.StatusUnauthorized && a.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: %s: %d: %.200s", name, path, a.StatusCode, a.body)
			}
			g.isProblem(a)
			if a.StatusCode == http.StatusUnauthorized && !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), `Bearer realm="sluice"`) {
				t.Errorf("%s: WWW-Authenticate %q", name, a.Header.Get("WWW-Authenticate"))
			}
			if strings.Contains(string(a.body), good[cut:]) {
				t.Errorf("%s: the key is repeated: %s", name, a.body)
			}
		}
	}
	if len(rows) < 50 {
		t.Errorf("%d rows", len(rows))
	}
	for _, scheme := range []string{"Bearer", "bearer", "BEARER"} {
		if a := g.raw("GET "+made.StatusURL, "Authorization: "+scheme+" "+good); a.StatusCode != http.StatusOK || !strings.Contains(string(a.body), `"state":"queued"`) {
			t.Errorf("%s and a good key: %d %s", scheme, a.StatusCode, a.body)
		}
	}
	if log := g.log.String(); strings.Contains(log, good[cut:]) || strings.Contains(log, "level=ERROR") {
		t.Errorf("the log tells the key, or an error: %s", log)
	}
}

// madeUp is a key that is right in all but that nobody made it.
func madeUp(t *testing.T) string {
	t.Helper()
	_, text, err := key.NewStore(pgtest.New(t)).Create(t.Context(), key.Order{Tenant: "acme", Name: "elsewhere", Scopes: []key.Scope{key.Admin}})
	must(t, err)
	return text
}

// raw sends a request as no client library would.
func (g guarded) raw(line, headers string) answer {
	g.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	must(g.t, err)
	defer conn.Close()
	if headers != "" {
		headers += "\r\n"
	}
	_, err = fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n", line, headers)
	must(g.t, err)
	method, _, _ := strings.Cut(line, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	must(g.t, err)
	body, err := io.ReadAll(resp.Body)
	must(g.t, err)
	return answer{resp, body}
}

// What goes around the key: other paths to a route, headers that a proxy would be believed, a key where none is looked for.
func TestNothingGoesAroundTheKey(t *testing.T) {
	t.Parallel()
	g := openGuarded(t, asItIs)
	acme, bolt := g.key("acme", key.Admin), g.key("bolt", key.Read)
	made := g.enqueueWith(acme, plainJob)
	rows := map[string]struct{ line, headers string }{
		"double slash":            {"GET //api/ai/jobs", ""},
		"climbing":                {"GET /livez/../api/ai/jobs", ""},
		"climbing, encoded":       {"GET /livez/%2e%2e/api/ai/jobs", ""},
		"upper case":              {"GET /API/AI/JOBS", ""},
		"a slash at the end":      {"GET /api/ai/jobs/", ""},
		"a parameter of the path": {"GET /api/ai/jobs;/livez", ""},
		"an encoded slash":        {"GET /api%2fai%2fjobs", ""},
		"an encoded letter":       {"GET /api/ai/%6aobs", ""},
		"a dot":                   {"GET /./api/ai/jobs", ""},
		"absolute":                {"GET http://x/api/ai/jobs", ""},
		"HEAD":                    {"HEAD /api/ai/jobs", ""},
		"another method":          {"PUT /api/ai/jobs", ""},
		"a method as header":      {"GET /api/ai/jobs", "X-HTTP-Method-Override: OPTIONS"},
		"OPTIONS":                 {"OPTIONS /api/ai/jobs", ""},
		"a fragment":              {"GET /api/ai/jobs#/livez", ""},
		"a key in the query":      {"GET /api/ai/jobs?access_token=" + acme, ""},
		"key=":                    {"GET /api/ai/jobs?key=" + acme, ""},
		"user information":        {"GET http://x:" + acme + "@x/api/ai/jobs", ""},
		"X-Original-URL":          {"GET /api/ai/jobs", "X-Original-URL: /livez"},
		"X-Rewrite-URL":           {"GET /api/ai/jobs", "X-Rewrite-URL: /livez"},
		"loopback as forwarded":   {"GET /api/ai/jobs", "X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nForwarded: for=127.0.0.1"},
		"a user as forwarded":     {"GET /api/ai/jobs", "X-Forwarded-User: admin\r\nX-Remote-User: admin\r\nX-Sluice-Tenant: acme"},
		"hop by hop":              {"GET /api/ai/jobs", "Connection: Authorization\r\nAuthorization: Bearer x"},
		"CR in a header":          {"GET /api/ai/jobs", "X: a\rAuthorization: Bearer " + acme},
		"LF in a header":          {"GET /api/ai/jobs", "X-Request-Id: a\nSet-Cookie: b\n"},
		"a header in an id":       {"GET /api/ai/jobs", "X-Request-Id: a%0d%0aSet-Cookie: b"},
		"a tenant as header":      {"GET " + made.StatusURL, "X-Tenant: acme\r\nTenant: acme\r\nAuthorization: Bearer " + bolt},
		"a tenant in the query":   {"GET /api/ai/jobs?tenant=acme", "Authorization: Bearer " + bolt},
		"a break in the query":    {"GET /api/ai/jobs?type=x%0d%0aAuthorization:%20Bearer%20" + acme, ""},
		"a scope as header":       {"POST /api/ai/upstreams/openai%3Agpt-5/pause", "X-Scope: admin\r\nAuthorization: Bearer " + bolt},
	}
	for name, row := range rows {
		a := g.raw(row.line, row.headers)
		if a.StatusCode < 400 && !(a.StatusCode == http.StatusNoContent && len(a.body) == 0) || a.StatusCode >= 500 || a.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d %v %s", name, a.StatusCode, a.Header, a.body)
		}
		if strings.Contains(string(a.body), made.ID.String()) {
			t.Errorf("%s: tells of the job: %s", name, a.body)
		}
	}
	// A body in which another request hides is a body.
	smuggled := "GET " + made.StatusURL + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + bolt + "\r\n\r\n"
	a := g.raw("GET /api/ai/jobs", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+smuggled)
	if a.StatusCode < 400 || strings.Contains(string(a.body), made.ID.String()) {
		t.Errorf("smuggled: %d %s", a.StatusCode, a.body)
	}
	up := decode[Status](g.site, g.with(bolt, "GET", "/api/ai/status", ""), http.StatusOK).Upstreams[0]
	if up.Breaker.State != BreakerStateClosed {
		t.Errorf("it was paused: %+v", up)
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

func TestAnAuditNamesTheKey(t *testing.T) {
	t.Parallel()
	g := openGuarded(t, asItIs)
	admin := g.key("ops", key.Admin)
	id, _, _ := key.Parse(admin)
	decode[Upstream](g.site, g.with(admin, "POST", "/api/ai/upstreams/openai%3Agpt-5/pause", ""), http.StatusOK)
	var by string
	must(t, g.pool.QueryRow(t.Context(), `select by from breaker_events`).Scan(&by))
	if by != "key "+id+" 127.0.0.1" {
		t.Errorf("by %q", by)
	}
}

func TestTheAdminPortNeedsNoKey(t *testing.T) {
	t.Parallel()
	g := openGuarded(t, asItIs)
	admin := listen(t, g.server.ServeAdmin)
	resp, err := http.Get(admin + "/metrics")
	must(t, err)
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "sluice_database_up 1") {
		t.Errorf("%d: %s", resp.StatusCode, body)
	}
	if a := g.with(g.key("ops", key.Admin), "GET", "/metrics", ""); a.StatusCode != http.StatusOK {
		t.Errorf("with an administrator's key on the public port: %d", a.StatusCode)
	}
}

// Without the database nobody's key is bad: 503, not 401, and health says so in its own words.
func TestKeysWithoutTheDatabase(t *testing.T) {
	t.Parallel()
	pool, away := losable(t)
	g := openGuardedOn(t, pool, asItIs)
	text := g.key("acme", key.Admin)
	away.Store(true)
	pool.Reset()
	if a := g.with(text, "GET", "/api/ai/jobs", ""); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || a.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if h := decode[HealthProblem](g.site, g.with(text, "GET", "/api/health", ""), http.StatusServiceUnavailable); h.Ok {
		t.Errorf("%+v", h)
	}
	if a := g.do("GET", "/livez", ""); a.StatusCode != http.StatusOK {
		t.Errorf("livez: %d", a.StatusCode)
	}
	if a := g.with(text[1:], "GET", "/api/ai/jobs", ""); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("what was never a key: %d", a.StatusCode)
	}
	away.Store(false)
	if a := g.with(text, "GET", "/api/ai/jobs", ""); a.StatusCode != http.StatusOK {
		t.Errorf("when it is back: %d %s", a.StatusCode, a.body)
	}
	lock, err := pool.Begin(t.Context())
	must(t, err)
	defer lock.Rollback(context.Background())
	_, err = lock.Exec(t.Context(), `lock table api_keys`)
	must(t, err)
	if a := g.with(madeUp(t), "GET", "/api/ai/jobs", ""); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("when it does not answer in time: %d %s", a.StatusCode, a.body)
	}
}

// A request that is under way ends with its key, so that a stream of events does not outlive it.
func TestARequestEndsWithItsKey(t *testing.T) {
	t.Parallel()
	g := openGuarded(t, asItIs)
	text := g.key("acme", key.Read)
	lock, err := g.pool.Begin(t.Context())
	must(t, err)
	defer lock.Rollback(context.Background())
	_, err = lock.Exec(t.Context(), `lock table jobs`)
	must(t, err)
	answered := make(chan answer)
	begun := time.Now()
	go func() { answered <- g.with(text, "GET", "/api/ai/jobs", "") }()
	g.waitForLock()
	id, _, _ := key.Parse(text)
	_, err = g.store.Revoke(t.Context(), id)
	must(t, err)
	a := <-answered
	if took := time.Since(begun); a.StatusCode != http.StatusUnauthorized || took < key.FreshFor || took > requestTimeout/2 || !strings.Contains(string(a.body), "the key was revoked") {
		t.Errorf("after %s: %d %s", took, a.StatusCode, a.body)
	}
}

// A request that takes longer than a look at its key holds goes on while the key is good.
func TestALongRequestGoesOnWithItsKey(t *testing.T) {
	t.Parallel()
	g := openGuarded(t, asItIs)
	text := g.key("acme", key.Read)
	lock, err := g.pool.Begin(t.Context())
	must(t, err)
	defer lock.Rollback(context.Background())
	_, err = lock.Exec(t.Context(), `lock table jobs`)
	must(t, err)
	looks := g.looks()
	answered := make(chan answer)
	go func() { answered <- g.with(text, "GET", "/api/ai/jobs", "") }()
	g.waitForLock()
	for begun := time.Now(); g.looks() < looks+3; { // the first, and two while it waits
		if time.Since(begun) > 30*time.Second {
			t.Fatal("its key is not looked at again")
		}
	}
	must(t, lock.Commit(t.Context()))
	if a := <-answered; a.StatusCode != http.StatusOK {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

// looks counts how often keys were looked up.
func (g guarded) looks() (n int64) {
	g.t.Helper()
	_, err := g.pool.Exec(g.t.Context(), `select pg_stat_force_next_flush()`)
	must(g.t, err)
	must(g.t, g.pool.QueryRow(g.t.Context(), `select coalesce(idx_scan, 0) + coalesce(seq_scan, 0) from pg_stat_user_tables where relname = 'api_keys'`).Scan(&n))
	return n
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	const most = 5
	g := openGuarded(t, func(s *Server) { s.rates.most = most })
	text, other := g.key("acme", key.Read), g.key("acme", key.Read)
	first := g.with(text, "GET", "/api/ai/jobs", "")
	if first.StatusCode != http.StatusOK || first.Header.Get("RateLimit-Policy") != `"key";q=5;w=1` || first.Header.Get("RateLimit") != `"key";r=4;t=1` {
		t.Errorf("%d %v", first.StatusCode, first.Header)
	}
	limited := answer{}
	for begun := time.Now(); limited.Response == nil; {
		if a := g.with(text, "GET", "/livez", ""); a.Header.Get("RateLimit") != "" {
			t.Error("what needs no key is counted")
		}
		if a := g.with(text, "GET", "/api/ai/jobs", ""); a.StatusCode == http.StatusTooManyRequests {
			limited = a
		} else if time.Since(begun) > 30*time.Second {
			t.Fatal("there is no limit")
		}
	}
	if p := g.isProblem(limited); p.Type != "urn:sluice:problem:rate_limited" || limited.Header.Get("Retry-After") != "1" || limited.Header.Get("RateLimit") != `"key";r=0;t=1` {
		t.Errorf("%+v %v", p, limited.Header)
	}
	if a := g.with(other, "GET", "/api/ai/jobs", ""); a.StatusCode != http.StatusOK {
		t.Errorf("another key, same address and tenant: %d", a.StatusCode)
	}
	if a := g.do("GET", "/api/ai/jobs", ""); a.StatusCode != http.StatusUnauthorized || a.Header.Get("RateLimit") != "" {
		t.Errorf("without a key: %d", a.StatusCode)
	}
	for begun := time.Now(); g.with(text, "GET", "/api/ai/jobs", "").StatusCode != http.StatusOK; {
		if time.Since(begun) > 30*time.Second {
			t.Fatal("the limit does not end")
		}
	}
}

func TestRatesHaveABound(t *testing.T) {
	t.Parallel()
	r := newRates(2)
	h := http.Header{}
	for i := range 2*maxRated + 1 {
		if !r.admit(h, fmt.Sprint(i)) {
			t.Fatal("a key that comes for the first time is refused")
		}
	}
	if n := len(r.byKey); n == 0 || n > maxRated {
		t.Errorf("%d are kept", n)
	}
	// What is full again makes room for others, and nobody who is at the limit gets around it.
	full := newRates(1000)
	for i := range maxRated - 1 {
		full.bucket(fmt.Sprint(i))
	}
	busy := full.bucket("busy")
	busy.AllowN(time.Now(), 900)
	full.bucket("one more")
	if len(full.byKey) != 2 || full.byKey["busy"] != busy {
		t.Errorf("%d are kept", len(full.byKey))
	}
	if none := newRates(0); !none.admit(http.Header{}, "k") || len(none.byKey) != 0 {
		t.Error("without a limit something is kept")
	}
}

// A page of an allowed origin can send what it needs to, and read what it is told, also when it is refused.
func TestCrossOriginHeaders(t *testing.T) {
	t.Parallel()
	const friend = "https://app.example"
	g := openGuarded(t, asItIs, friend)
	wanted := "authorization,idempotency-key,prefer,last-event-id,content-type,x-request-id"
	preflight := g.do("OPTIONS", "/api/ai/enqueue", "", "Origin", friend, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", wanted)
	allowed := strings.Split(strings.ToLower(preflight.Header.Get("Access-Control-Allow-Headers")), ",")
	for name := range strings.SplitSeq(wanted, ",") {
		if !slices.Contains(allowed, name) {
			t.Errorf("%s is not allowed: %v", name, allowed)
		}
	}
	if preflight.StatusCode != http.StatusNoContent || preflight.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("%d %v", preflight.StatusCode, preflight.Header)
	}
	refused := g.do("GET", "/api/ai/jobs", "", "Origin", friend)
	exposed := strings.Split(refused.Header.Get("Access-Control-Expose-Headers"), ",")
	for _, name := range []string{"Location", "Idempotency-Replayed", "Retry-After", "RateLimit", "RateLimit-Policy", "Preference-Applied", "X-Request-Id", "WWW-Authenticate"} {
		if !slices.Contains(exposed, name) {
			t.Errorf("%s is not exposed: %v", name, exposed)
		}
	}
	if refused.StatusCode != http.StatusUnauthorized || refused.Header.Get("Access-Control-Allow-Origin") != friend {
		t.Errorf("refused: %d %v", refused.StatusCode, refused.Header)
	}
}

// A crowd with made-up keys does not keep a good one out, nor does it cost the database more than a few statements.
func TestACrowdOfMadeUpKeys(t *testing.T) {
	t.Parallel()
	g := openGuarded(t, asItIs)
	good := g.key("acme", key.Read)
	stranger := madeUp(t)
	stop, done := make(chan struct{}), make(chan error, 20)
	for range cap(done) {
		go func() {
			for {
				select {
				case <-stop:
					done <- nil
					return
				default:
				}
				r, _ := http.NewRequest(http.MethodGet, g.url+"/api/ai/jobs", nil)
				r.Header.Set("Authorization", "Bearer "+stranger)
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					done <- err
					return
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusUnauthorized {
					done <- fmt.Errorf("a stranger gets %d", resp.StatusCode)
					return
				}
			}
		}()
	}
	for range 100 {
		if a := g.with(good, "GET", "/api/ai/jobs", ""); a.StatusCode != http.StatusOK {
			t.Errorf("the good key among them: %d %s", a.StatusCode, a.body)
		}
	}
	close(stop)
	for range cap(done) {
		must(t, <-done)
	}
}

// The contract refuses to be loaded when it says of an operation what is no scope.
func TestSecurityThatIsNone(t *testing.T) {
	t.Parallel()
	doc := *document()
	op := *doc.Paths.Value("/livez").Get
	if scope, err := scopeOf(&doc, &op); err != nil || scope != "" {
		t.Errorf("open: %q, %v", scope, err)
	}
	op.Security = nil
	if scope, err := scopeOf(&doc, &op); err != nil || scope != key.Admin {
		t.Errorf("that says nothing: %q, %v", scope, err)
	}
	for _, security := range []string{`[{}]`, `[{"key":[]}]`, `[{"key":["root"]}]`, `[{"other":["read"]}]`, `[{"key":["read"]},{}]`, `[{"key":["read","admin"]}]`} {
		must(t, json.Unmarshal([]byte(security), &op.Security))
		if scope, err := scopeOf(&doc, &op); err == nil {
			t.Errorf("%s: %q", security, scope)
		}
	}
}

// A stream that was opened with a key ends with it, and so does a wait for a job.
func TestAStreamEndsWithItsKey(t *testing.T) {
	t.Parallel()
	g := openGuarded(t, asItIs)
	text := g.key("acme", key.Enqueue, key.Read)
	made := g.enqueueWith(text, plainJob)
	id, _, _ := key.Parse(text)
	ended := make(chan string)
	for _, path := range []string{made.EventsURL, "/api/ai/status/events"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.url+path, nil)
		must(t, err)
		r.Header.Set("Authorization", "Bearer "+text)
		resp, err := http.DefaultClient.Do(r)
		must(t, err)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d", path, resp.StatusCode)
		}
		go func() {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			ended <- path
		}()
	}
	waited := make(chan answer)
	go func() { waited <- g.with(text, "POST", "/api/ai/enqueue", plainJob, preferHeader, "wait=60") }()
	for g.jobs() < 2 { // it is kept, and waited for
	}
	_, err := g.store.Revoke(t.Context(), id)
	must(t, err)
	revoked := time.Now()
	for range 2 {
		if path := <-ended; time.Since(revoked) > streamLife/10 {
			t.Errorf("%s ended after %s", path, time.Since(revoked))
		}
	}
	if a := <-waited; a.StatusCode != http.StatusUnauthorized || time.Since(revoked) > maxWait/2 {
		t.Errorf("who waited, after %s: %d %s", time.Since(revoked), a.StatusCode, a.body)
	}
}
