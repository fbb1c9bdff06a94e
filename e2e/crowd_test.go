package e2e

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	crowd      = 10_000 // connections; the API lets in 15,000
	otherFiles = 500    // that this process needs besides

	gatherFor = time.Minute // a slow machine has a smaller crowd: the API lets go who is idle for two
)

// Ten thousand connections that are open and idle keep nobody waiting, are kept themselves, and leave nothing behind.
func TestACrowdOfIdleConnections(t *testing.T) {
	t.Parallel()
	s := start(t)
	before := s.goroutines()
	conns := s.gather(affordable(t))
	if n := s.goroutines(); n < len(conns) {
		t.Errorf("the API holds %d goroutines for %d connections", n, len(conns))
	}
	s.enqueue("diary.entry", "hello") // before any of them was let go
	for _, conn := range []net.Conn{conns[0], conns[len(conns)-1]} {
		if err := live(conn); err != nil {
			t.Errorf("one that was idle: %v", err)
		}
	}
	for _, conn := range conns {
		conn.Close()
	}
	s.until("nothing is left of the crowd", func() bool { return s.goroutines() < before+100 })
}

// affordable is the size of a crowd that this process has the files for. Go has raised the limit as far as it may.
func affordable(t *testing.T) int {
	t.Helper()
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if files.Cur < crowd+otherFiles {
		n := max(1, int(files.Cur)-otherFiles)
		t.Logf("only %d open files are allowed here (see ulimit -Hn): a crowd of %d, not of %d", files.Cur, n, crowd)
		return n
	}
	return crowd
}

var goroutines = regexp.MustCompile(`(?m)^go_goroutines (\d+)$`)

// goroutines are those of the API: each connection has one.
func (s *system) goroutines() int {
	s.t.Helper()
	res, err := http.Get(s.api + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	m := goroutines.FindSubmatch(text)
	if m == nil {
		s.t.Fatalf("no go_goroutines in %s", text)
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n
}

// gather opens n connections, or as many as there is time for, each of which has had an answer and may ask again.
func (s *system) gather(n int) []net.Conn {
	s.t.Helper()
	const dialers = 8
	conns := make([]net.Conn, n)
	var all sync.WaitGroup
	for d, until := 0, time.Now().Add(gatherFor); d < dialers; d++ {
		all.Go(func() {
			for i := d; i < n && time.Now().Before(until); i += dialers {
				conn, err := s.admitted()
				if err != nil {
					s.t.Error(err)
					return
				}
				conns[i] = conn
			}
		})
	}
	all.Wait()
	if s.t.Failed() {
		s.t.FailNow()
	}
	return slices.DeleteFunc(conns, func(conn net.Conn) bool { return conn == nil })
}

// admitted opens a connection that has had an answer. The API hangs up on who says nothing for five seconds, which may be
// all of us on a machine that stands still: then there is another one.
func (s *system) admitted() (conn net.Conn, err error) {
	for range 3 {
		if conn, err = net.Dial("tcp", strings.TrimPrefix(s.api, "http://")); err != nil {
			return nil, err
		}
		s.t.Cleanup(func() { conn.Close() })
		conn.(*net.TCPConn).SetLinger(0) // so many ports are not to stay taken for a minute
		if err = live(conn); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// live asks whether the API lives, on a connection of its own.
func live(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, res.Body)
	return err
}
