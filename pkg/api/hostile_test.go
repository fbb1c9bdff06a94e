package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

// patience is for an event that has to come. It is no measure of speed.
const patience = 2 * time.Minute

// limited serves the site once more, under limits of its own.
func (s *site) limited(limits connectionLimits) (address string) {
	s.t.Helper()
	url := listen(s.t, func(ctx context.Context, ln net.Listener) error {
		return serve(ctx, ln, s.server.Handler(), s.server.log, limits)
	})
	return strings.TrimPrefix(url, "http://")
}

func dial(t testing.TB, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if errors.Is(err, syscall.EMFILE) && os.Getenv("CI") != "true" {
		t.Skip("the limit of open files is too low for this test")
	}
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

// say sends a request as it is written and reads the answer.
func (s *site) say(conn net.Conn, in *bufio.Reader, request string) answer {
	s.t.Helper()
	_, err := io.WriteString(conn, request)
	must(s.t, err)
	return s.hear(in)
}

func (s *site) hear(in *bufio.Reader) answer {
	s.t.Helper()
	resp, err := http.ReadResponse(in, nil)
	must(s.t, err)
	body, err := io.ReadAll(resp.Body)
	must(s.t, err)
	a := answer{resp, body}
	if a.StatusCode >= 400 {
		s.isProblem(a)
	}
	return a
}

const post = "POST /api/ai/enqueue HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

// Whoever takes too long is shut out in bounded time, whatever it is that takes so long.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	s := open(t)
	limits := ofConnections
	limits.header, limits.read, limits.write, limits.idle = 300*time.Millisecond, 600*time.Millisecond, 2*time.Second, 300*time.Millisecond
	address := s.limited(limits)
	for name, c := range map[string]struct {
		begin, drip string
	}{
		"says nothing":             {"", ""},
		"half a line":              {"GET /liv", ""},
		"headers, byte by byte":    {"GET /livez HTTP/1.1\r\nHost: x\r\n", "X"},
		"headers without end":      {"GET /livez HTTP/1.1\r\nHost: x\r\n", "X-More: x\r\n"},
		"no body":                  {post + "Content-Length: 100\r\n\r\n", ""},
		"a body, byte by byte":     {post + "Content-Length: 1000\r\n\r\n{", " "},
		"chunks, byte by byte":     {post + "Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n"},
		"a body where none is due": {"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n", " "},
		"idle after an answer":     {"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, address)
			_, err := io.WriteString(conn, c.begin)
			must(t, err)
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				_, err := io.Copy(io.Discard, conn) // an answer, if any, and the end
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("the connection is still open")
				}
			}()
			for {
				select {
				case <-gone:
					return
				case <-time.After(50 * time.Millisecond): // that slow is the client
				}
				_, _ = io.WriteString(conn, c.drip)
			}
		})
	}
}

// A body without end is refused after as much as is taken, and the connection closed after as much as is thrown away.
func TestEndlessBody(t *testing.T) {
	t.Parallel()
	s := open(t)
	conn := dial(t, strings.TrimPrefix(s.url, "http://"))
	_, err := io.WriteString(conn, post+"Transfer-Encoding: chunked\r\n\r\n")
	must(t, err)
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 1<<20, strings.Repeat("x", 1<<20))
	sent := 0
	for ; sent < 2*maxDiscard>>20; sent++ {
		if _, err := io.WriteString(conn, chunk); err != nil {
			break
		}
	}
	if sent >= 2*maxDiscard>>20 {
		t.Errorf("the server read %d MiB and would go on", sent)
	}
	if n := s.jobs(); n != 0 {
		t.Errorf("%d jobs", n)
	}
}

// Whoever is refused while it is still sending reads why: its connection is not closed in its face.
func TestARefusedBodyIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	s := open(t)
	body := strings.Repeat("x", maxDiscard/2) // more than any buffer takes
	request := fmt.Sprintf("POST /no/such/path HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	conn := dial(t, strings.TrimPrefix(s.url, "http://")) // from here on the header is due within headerTimeout
	if a := s.say(conn, bufio.NewReader(conn), request); a.StatusCode != http.StatusNotFound {
		t.Errorf("status %d", a.StatusCode)
	}
}

// The time that a sender takes is not that of a request's work.
func TestASlowSenderIsServed(t *testing.T) {
	t.Parallel()
	const limit = time.Second
	s := openWith(t, pgtest.New(t), func(s *Server) { s.limits.request = limit })
	s.until("it is served, for which a busy machine may need more than the limit", func() bool {
		conn := dial(t, strings.TrimPrefix(s.url, "http://"))
		_, err := io.WriteString(conn, fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", post, len(plainJob), plainJob[:10]))
		must(t, err)
		time.Sleep(limit + limit/2) // that slow is the client
		return s.say(conn, bufio.NewReader(conn), plainJob[10:]).StatusCode == http.StatusAccepted
	})
}

// What the tests above make shorter is this by default.
func TestLimitsOfConnections(t *testing.T) {
	t.Parallel()
	want := connectionLimits{header: 5 * time.Second, read: time.Minute, write: 150 * time.Second, idle: 2 * time.Minute, drain: 15 * time.Second, headerBytes: 32 << 10, connections: 15_000}
	if ofConnections != want {
		t.Errorf("%+v, want %+v", ofConnections, want)
	}
}

// A promise of a large body costs nothing, and one that is too large is refused before it comes.
func TestBodyThatIsAnnouncedTooLarge(t *testing.T) {
	t.Parallel()
	s := open(t)
	for path, size := range map[string]int64{"/api/ai/enqueue": maxBody + 1, "/api/ai/enqueue/batch": maxBatchBody + 1} {
		conn := dial(t, strings.TrimPrefix(s.url, "http://"))
		request := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", path, size)
		if a := s.say(conn, bufio.NewReader(conn), request); a.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: status %d", path, a.StatusCode)
		}
	}
}

// All bodies together take so much and no more; who comes too much is told to try again, and nothing of it stays.
func TestBodiesHaveABoundTogether(t *testing.T) {
	t.Parallel()
	s := openWith(t, pgtest.New(t), func(s *Server) { s.bodies.most = 1 << 20 })
	large := "[" + plainJob + strings.Repeat(" ", 16<<20) + "]" // more than is read at once
	a := s.do("POST", "/api/ai/enqueue/batch", large)
	if p := s.isProblem(a); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || !strings.Contains(p.Detail, "large requests") {
		t.Errorf("status %d: %s", a.StatusCode, a.body)
	}
	s.enqueue(plainJob)
	if held := s.server.bodies.held.Load(); held != 0 {
		t.Errorf("%d bytes are held by nobody", held)
	}
	if n := s.jobs(); n != 1 {
		t.Errorf("%d jobs", n)
	}
}

// The bound is what may be held, and to give room back twice gives it back once.
func TestTheBoundOfBodies(t *testing.T) {
	t.Parallel()
	b := &bodies{most: 4}
	for text, fits := range map[string]bool{"full": true, "above": false} {
		body := &boundBody{ReadCloser: io.NopCloser(strings.NewReader(text)), of: b}
		if _, err := io.ReadAll(body); (err == nil) != fits {
			t.Errorf("%s: %v", text, err)
		}
		body.release()
		body.release()
		if held := b.held.Load(); held != 0 {
			t.Errorf("%s: %d bytes are held", text, held)
		}
	}
}

// When as many connections are open as may be, idle ones make room, in the order in which they fell idle; one that is
// sending is left alone, and where all are, the new one is closed.
func TestConnectionsMakeRoom(t *testing.T) {
	t.Parallel()
	s := open(t)
	limits := ofConnections
	limits.connections = 3
	address := s.limited(limits)
	const live = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
	busy := dial(t, address)
	_, err := io.WriteString(busy, fmt.Sprintf("%sContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", post, len(plainJob)))
	must(t, err)
	busyIn := bufio.NewReader(busy)
	resp, err := http.ReadResponse(busyIn, nil)
	must(t, err)
	if resp.StatusCode != http.StatusContinue { // its handler waits for the body from now on
		t.Fatalf("status %d", resp.StatusCode)
	}
	for range 50 {
		idle := dial(t, address)
		if a := s.say(idle, bufio.NewReader(idle), live); a.StatusCode != http.StatusOK {
			t.Fatalf("status %d", a.StatusCode)
		}
	}
	if a := s.say(busy, busyIn, plainJob); a.StatusCode != http.StatusAccepted {
		t.Errorf("the one that was sending: status %d", a.StatusCode)
	}

	limits.connections = 1
	address = s.limited(limits)
	only := dial(t, address)
	_, err = io.WriteString(only, post+"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
	must(t, err)
	onlyIn := bufio.NewReader(only)
	_, err = http.ReadResponse(onlyIn, nil)
	must(t, err)
	if n, err := dial(t, address).Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one too many: %d bytes, %v", n, err)
	}
	if a := s.say(only, onlyIn, "{}"); a.StatusCode != http.StatusBadRequest {
		t.Errorf("the one that was there: status %d", a.StatusCode)
	}
}

func TestOddHTTP(t *testing.T) {
	t.Parallel()
	s := open(t)
	length := func(body string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body) }
	for name, c := range map[string]struct {
		request string
		status  []int // of the answers, one after the other
	}{
		"two in one go":                  {"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /api/ai/status HTTP/1.1\r\nHost: x\r\n\r\n", []int{200, 200}},
		"garbage behind":                 {"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n\x00\x01garbage\r\n\r\n", []int{200, 400}},
		"garbage behind a body":          {post + length("{}") + "<<<>>>\r\n\r\n", []int{400, 400}},
		"a request inside a body":        {post + length("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"), []int{400}},
		"HTTP/1.0":                       {"GET /livez HTTP/1.0\r\n\r\n", []int{200}},
		"HTTP/1.0 with a body":           {strings.Replace(post, "HTTP/1.1", "HTTP/1.0", 1) + length(plainJob), []int{202}},
		"HTTP/0.9":                       {"GET /livez\r\n\r\n", []int{400}},
		"an absolute URI":                {"GET http://evil.example/livez HTTP/1.1\r\nHost: x\r\n\r\n", []int{200}},
		"an absolute URI of nothing":     {"GET http://evil.example/no HTTP/1.1\r\nHost: x\r\n\r\n", []int{404}},
		"an asterisk":                    {"GET * HTTP/1.1\r\nHost: x\r\n\r\n", []int{404}},
		"a tunnel":                       {"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n", []int{404}},
		"no path":                        {"GET HTTP/1.1\r\nHost: x\r\n\r\n", []int{400}},
		"two hosts":                      {"GET /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", []int{400}},
		"a host of nonsense":             {"GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n", []int{400}},
		"two lengths":                    {post + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", []int{400}},
		"a negative length":              {post + "Content-Length: -1\r\n\r\n", []int{400}},
		"a length past int64":            {post + "Content-Length: 99999999999999999999\r\n\r\n", []int{400}},
		"a chunk that is none":           {post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", []int{400}},
		"a chunk past any size":          {post + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", []int{400}},
		"length and chunks":              {post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", []int{400}},
		"two codings":                    {post + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", []int{501}},
		"NUL in a header":                {"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: a\x00b\r\n\r\n", []int{400}},
		"CR in a header":                 {"GET /livez HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\rSet-Cookie: b\r\n\r\n", []int{400}},
		"LF in a header is another one":  {"GET /livez HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\nSet-Cookie: b\r\n\r\n", []int{200}},
		"CRLF in a path":                 {"GET /livez%0d%0aSet-Cookie:%20b HTTP/1.1\r\nHost: x\r\n\r\n", []int{404}},
		"a folded header":                {"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: a\r\n b\r\n\r\n", []int{200}},
		"space before the colon":         {"GET /livez HTTP/1.1\r\nHost: x\r\nX-A : a\r\n\r\n", []int{400}},
		"a header without a name":        {"GET /livez HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n", []int{400}},
		"a method of letters and digits": {"G3T /livez HTTP/1.1\r\nHost: x\r\n\r\n", []int{405}},
		"a long path":                    {"GET /" + strings.Repeat("x", 2*maxHeader) + " HTTP/1.1\r\nHost: x\r\n\r\n", []int{431}},
		"many headers":                   {"GET /livez HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-A: a\r\n", maxHeader/4) + "\r\n", []int{431}},
		"another protocol":               {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{404}},
		"an upgrade":                     {"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n", []int{200}},
		"TLS":                            {"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", []int{400}},
	} {
		conn := dial(t, strings.TrimPrefix(s.url, "http://"))
		in := bufio.NewReader(conn)
		_, err := io.WriteString(conn, c.request)
		must(t, err)
		for i, want := range c.status {
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Errorf("%s: answer %d: %v", name, i, err)
				break
			}
			body, err := io.ReadAll(resp.Body)
			must(t, err)
			if resp.StatusCode != want {
				t.Errorf("%s: answer %d is %d, want %d", name, i, resp.StatusCode, want)
			}
			if resp.StatusCode >= 400 {
				s.isProblem(answer{resp, body})
			}
			if resp.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s: a header of the client's making", name)
			}
		}
		conn.Close()
	}
	if n := s.jobs(); n != 1 {
		t.Errorf("%d jobs, want 1", n)
	}
}
