package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
)

// What net/http refuses by itself, before any handler, is a problem too.
func TestMalformedHTTP(t *testing.T) {
	t.Parallel()
	s := open(t)
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"broken escape":        {"GET /api/ai/jobs/%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"half an escape":       {"GET /api/ai/jobs/%2 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"no host":              {"GET /livez HTTP/1.1\r\n\r\n", 400},
		"nonsense":             {"hello\r\n\r\n", 400},
		"broken header":        {"GET /livez HTTP/1.1\r\nHost: x\r\na b: c\r\n\r\n", 400},
		"headers too large":    {"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 2*maxHeader) + "\r\n\r\n", 431},
		"unknown coding":       {"POST /api/ai/enqueue HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
		"unknown expectation":  {"POST /api/ai/enqueue HTTP/1.1\r\nHost: x\r\nExpect: tea\r\nContent-Length: 2\r\n\r\n{}", 417},
		"the same in HTTP/1.0": {"POST /api/ai/enqueue HTTP/1.0\r\nExpect: tea\r\nContent-Length: 2\r\n\r\n{}", 417},
		"unsupported version":  {"GET /livez HTTP/3.0\r\nHost: x\r\n\r\n", 505},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		must(t, err)
		_, err = io.WriteString(conn, c.request)
		must(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		conn.Close()
		if resp.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d", name, resp.StatusCode, c.status)
		}
		s.isProblem(answer{resp, body})
	}
}

func TestOnlyNetHTTPsOwnAnswersAreRewritten(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"HTTP/1.1 400 Bad Request" + rawHeaders + "400 Bad Request":           true,
		"HTTP/1.1 400 Bad Request: missing required Host header" + rawHeaders: true,
		"HTTP/1.1 200 OK" + rawHeaders + "x":                                  false,
		"HTTP/1.1 400 Bad Request\r\nDate: now" + rawHeaders:                  false,
		"x HTTP/1.1 400 Bad Request" + rawHeaders:                             false,
		"HTTP/1.1 4" + rawHeaders:                                             false,
		"":                                                                    false,
	} {
		if _, got := rawRefusal([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// A request that is under way when the order to stop comes is answered.
func TestServeDrains(t *testing.T) {
	t.Parallel()
	s := open(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(ctx, ln) }()

	body, sender := io.Pipe()
	reading := make(chan struct{})
	r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got100Continue: func() { close(reading) },
	}), "POST", "http://"+ln.Addr().String()+"/api/ai/enqueue", body)
	must(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Expect", "100-continue")
	client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
	var request sync.WaitGroup
	request.Go(func() {
		resp, err := client.Do(r)
		if err != nil {
			t.Errorf("the open request was cut off: %v", err)
			return
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			t.Errorf("status %d", resp.StatusCode)
		}
	})
	<-reading // the handler waits for the body
	stop()
	_, err = io.WriteString(sender, plainJob)
	must(t, err)
	sender.Close()
	request.Wait()
	must(t, <-served)
	if n := s.jobs(); n != 1 {
		t.Errorf("%d jobs, want 1", n)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("the address still answers")
	}
	rec := httptest.NewRecorder()
	s.server.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/readyz", nil))
	if rec.Code != http.StatusServiceUnavailable {
		t.Errorf("a stopping process says that it is ready: %d", rec.Code)
	}
}

// One that goes on for longer than it may is cut off.
func TestServeCutsOff(t *testing.T) {
	t.Parallel()
	s := open(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	limits := ofConnections
	limits.drain, limits.read = 100*time.Millisecond, time.Hour
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- serve(ctx, ln, s.server.Handler(), s.server.log, limits) }()
	conn := dial(t, ln.Addr().String())
	_, err = io.WriteString(conn, post+"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
	must(t, err)
	in := bufio.NewReader(conn)
	_, err = http.ReadResponse(in, nil) // the handler waits for the body
	must(t, err)
	stop()
	must(t, <-served)
	if _, err := in.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("its connection: %v", err)
	}
	if !strings.Contains(s.log.String(), "requests were cut off") {
		t.Errorf("it is not said: %s", s.log)
	}
}

func TestPanicsAndInsides(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.server.echo.GET("/panic", func(echo.Context) error { panic("secret inside") })
	a := s.do("GET", "/panic", "", "X-Request-Id", "req-1")
	if p := s.isProblem(a); a.StatusCode != http.StatusInternalServerError || p.RequestID != "req-1" || strings.Contains(string(a.body), "secret") {
		t.Errorf("panic: %s", a.body)
	}
	s.server.echo.GET("/late", func(c echo.Context) error { _ = c.String(http.StatusOK, "so far"); panic("too late") })
	if a := s.do("GET", "/late", ""); string(a.body) != "so far" {
		t.Errorf("a panic within an answer: %s", a.body)
	}
	_, err := s.pool.Exec(t.Context(), `alter table jobs rename to gone`)
	must(t, err)
	a = s.do("GET", "/api/ai/jobs", "", "X-Request-Id", "req-2")
	if a.StatusCode != http.StatusInternalServerError || strings.Contains(string(a.body), "relation") || strings.Contains(string(a.body), "42P01") {
		t.Errorf("a broken query: %s", a.body)
	}
	for _, id := range []string{"req-1", "req-2"} {
		if n := strings.Count(s.log.String(), "request_id="+id); n != 1 {
			t.Errorf("%s is logged %d times: %s", id, n, s.log)
		}
	}
}

func TestRequestIDsAreHarmless(t *testing.T) {
	t.Parallel()
	s := open(t)
	for id, kept := range map[string]bool{"req-1/a:b": true, strings.Repeat("x", maxRequestID): true, "a b": false, strings.Repeat("x", maxRequestID+1): false, `a"b`: false, "é": false, "": false} {
		got := s.do("GET", "/livez", "", "X-Request-Id", id).Header.Get("X-Request-Id")
		if (got == id) != kept || got == "" {
			t.Errorf("%q: answered with %q", id, got)
		}
	}
}

func TestHeadIsGetWithoutABody(t *testing.T) {
	t.Parallel()
	s := open(t)
	if a := s.do("HEAD", "/api/ai/status", ""); a.StatusCode != http.StatusOK || len(a.body) != 0 || a.ContentLength <= 0 {
		t.Errorf("status %d, %d bytes, length %d", a.StatusCode, len(a.body), a.ContentLength)
	}
	if a := s.do("HEAD", "/api/ai/enqueue", ""); a.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("status %d", a.StatusCode)
	}
	for path, want := range map[string]string{"/api/ai/status": "OPTIONS, GET, HEAD", "/api/ai/enqueue": "OPTIONS, POST"} {
		for _, method := range []string{"DELETE", "OPTIONS"} {
			if got := s.do(method, path, "").Header.Get("Allow"); got != want {
				t.Errorf("%s %s: Allow: %s, want %s", method, path, got, want)
			}
		}
	}
}

func TestWebPagesOfOtherOrigins(t *testing.T) {
	t.Parallel()
	const friend, stranger = "https://app.example", "https://evil.example"
	s := open(t, friend)
	made := s.enqueue(plainJob)
	cancel := made.StatusURL + "/cancel"
	if a := s.do("POST", cancel, "", "Origin", stranger, "Sec-Fetch-Site", "cross-site"); a.StatusCode != http.StatusForbidden {
		t.Errorf("a stranger's page cancels: %d", a.StatusCode)
	}
	if a := s.do("GET", made.StatusURL, "", "Origin", stranger); a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("a stranger's page may read")
	}
	ask := []string{"Origin", friend, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type,idempotency-key"}
	a := s.do("OPTIONS", "/api/ai/enqueue", "", ask...)
	if a.StatusCode != http.StatusNoContent || a.Header.Get("Access-Control-Allow-Origin") != friend || !strings.Contains(a.Header.Get("Access-Control-Allow-Headers"), keyHeader) {
		t.Errorf("preflight: %d %v", a.StatusCode, a.Header)
	}
	if h := a.Header; h.Get("Access-Control-Allow-Methods") != "GET,POST" || h.Get("Access-Control-Max-Age") != "600" ||
		h.Get("Access-Control-Allow-Headers") != "Content-Type,Authorization,Idempotency-Key,Prefer,Last-Event-ID,X-Request-Id" {
		t.Errorf("preflight: %v", h)
	}
	const exposed = "Location,Idempotency-Replayed,Preference-Applied,Retry-After,RateLimit,RateLimit-Policy,WWW-Authenticate,X-Request-Id"
	if got := s.do("GET", made.StatusURL, "", "Origin", friend).Header.Get("Access-Control-Expose-Headers"); got != exposed {
		t.Errorf("a friend's page may read %s", got)
	}
	if a := s.do("POST", cancel, "", "Origin", friend, "Sec-Fetch-Site", "cross-site"); a.StatusCode != http.StatusOK || a.Header.Get("Access-Control-Allow-Origin") != friend {
		t.Errorf("a friend's page: %d %v", a.StatusCode, a.Header)
	}
	if a := open(t).do("OPTIONS", "/api/ai/enqueue", "", ask...); a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("without a list nobody is allowed")
	}
}

func TestAnswersAreNotSniffedOrKept(t *testing.T) {
	t.Parallel()
	s := open(t)
	for _, path := range []string{"/api/ai/status", "/no/such/path"} {
		h := s.do("GET", path, "").Header
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %v", path, h)
		}
	}
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	s := open(t)
	admin := listen(t, s.server.ServeAdmin)
	for path, want := range map[string]int{"/livez": 200, "/readyz": 200, "/metrics": 200, "/debug/pprof/": 200, "/debug/pprof/cmdline": 200, "/api/ai/jobs": 404} {
		resp, err := http.Get(admin + path)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: status %d, want %d", path, resp.StatusCode, want)
		}
		if got := resp.Header.Get("Content-Type"); want == 404 && got != problemType {
			t.Errorf("%s: %s, and no problem", path, got)
		}
	}
	if a := s.do("GET", "/debug/pprof/", ""); a.StatusCode != http.StatusNotFound {
		t.Errorf("pprof is on the public port: %d", a.StatusCode)
	}
}

func TestNewRefusesAnOriginThatIsNone(t *testing.T) {
	t.Parallel()
	s := open(t)
	_, err := New(Config{Queue: s.queue, Upstreams: s.server.upstreams, DB: s.pool, Log: s.server.log, CORSOrigins: []string{"app.example"}})
	if err == nil || !strings.Contains(err.Error(), "app.example") {
		t.Errorf("got %v", err)
	}
}
