package api

import (
	"bufio"
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
