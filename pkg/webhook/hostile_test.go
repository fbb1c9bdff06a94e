package webhook

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// names is a DNS server that gives each question for an IPv4 address the next of its answers, and the last for ever.
func names(t *testing.T, answers ...string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		for asked, buf := 0, make([]byte, 512); ; {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			question := buf[12 : 12+strings.IndexByte(string(buf[12:n]), 0)+5]
			isA := question[len(question)-3] == 1
			reply := append([]byte{buf[0], buf[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question...)
			if isA {
				ip := netip.MustParseAddr(answers[min(asked, len(answers)-1)]).As4()
				asked++
				reply[7] = 1
				reply = append(append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4), ip[:]...)
			}
			conn.WriteTo(reply, from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// open is an address of this machine that stands for the internet; whatever listens on another one is inside.
const open = "127.0.0.2"

// Each of these wants to reach a server inside the network, or to hold or harm the worker. None does, whatever the list of
// hosts says: here it allows all of them.
func TestHostileReceivers(t *testing.T) {
	t.Parallel()
	trap := receive(t, "127.0.0.1", yes)
	for _, tt := range []struct {
		name   string
		url    string // PORT is the trap's
		answer http.HandlerFunc
		want   string // in the error
	}{
		{name: "loopback", url: "http://127.0.0.1:PORT/", want: "inside the network"},
		{name: "loopback by name", url: "http://localhost:PORT/", want: "inside the network"},
		{name: "loopback of IPv6", url: "http://[::1]:PORT/", want: "inside the network"},
		{name: "IPv4 in IPv6", url: "http://[::ffff:127.0.0.1]:PORT/", want: "inside the network"},
		{name: "IPv4 in IPv6, in hexadecimal", url: "http://[::ffff:7f00:1]:PORT/", want: "inside the network"},
		{name: "IPv4 in NAT64", url: "http://[64:ff9b::7f00:1]:PORT/", want: "inside the network"},
		{name: "IPv4 in 6to4", url: "http://[2002:7f00:1::]:PORT/", want: "inside the network"},
		{name: "unspecified", url: "http://0.0.0.0:PORT/", want: "inside the network"},
		{name: "unspecified of IPv6", url: "http://[::]:PORT/", want: "inside the network"},
		{name: "a number", url: "http://2130706433:PORT/", want: "no such host"},
		{name: "octal", url: "http://0177.0.0.1:PORT/", want: "no such host"},
		{name: "hexadecimal", url: "http://0x7f.1:PORT/", want: "inside the network"},
		{name: "short", url: "http://127.1:PORT/", want: "no such host"},
		{name: "metadata of a cloud", url: "http://169.254.169.254/latest/meta-data/", want: "inside the network"},
		{name: "metadata of a cloud, IPv6", url: "http://[fd00:ec2::254]/", want: "inside the network"},
		{name: "private", url: "http://10.0.0.1/", want: "inside the network"},
		{name: "private of IPv6", url: "http://[fc00::1]/", want: "inside the network"},
		{name: "link-local with a zone", url: "http://[fe80::1%25lo]:PORT/", want: "inside the network"},
		{name: "a carrier's", url: "http://100.64.0.1/", want: "inside the network"},
		{name: "a name of this machine", url: "http://inside.example:PORT/", want: "inside the network"},
		{name: "user information", url: "http://user:password@inside.example:PORT/", want: errNoURL.Error()},
		{name: "a host in user information", url: "http://hooks.example.com@127.0.0.1:PORT/", want: errNoURL.Error()},
		{name: "another scheme", url: "gopher://127.0.0.1:PORT/", want: errNoURL.Error()},
		{name: "a file", url: "file:///etc/passwd", want: errNoURL.Error()},
		{name: "a port that is not allowed", url: "http://hooks.example.com:6379/", want: errHost.Error()},
		{name: "a port too large", url: "http://hooks.example.com:65616/", want: errHost.Error()},
		{name: "a port of 0", url: "http://hooks.example.com:0/", want: errHost.Error()},
		{name: "a line break", url: "http://hooks.example.com/\r\nHost: x", want: errNoURL.Error()},
		{name: "a redirect inside", answer: redirect(http.StatusFound, "http://127.0.0.1:"+trap.port), want: "redirects are not followed"},
		{name: "a redirect that keeps the body", answer: redirect(http.StatusTemporaryRedirect, "http://127.0.0.1:"+trap.port), want: "redirects are not followed"},
		{name: "a redirect to itself", answer: redirect(http.StatusPermanentRedirect, "/"), want: "redirects are not followed"},
		{name: "a redirect without a place", answer: statuses(304), want: "redirects are not followed"},
		{name: "no answer", answer: hang(t), want: "deadline exceeded"},
		{name: "a slow answer", answer: drip(t, time.Millisecond, 1), want: "deadline exceeded"},
		{name: "huge headers", answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Huge", strings.Repeat("x", maxAnswerHeader))
		}, want: "headers exceeded"},
		{name: "no HTTP", answer: hijacked("SSH-2.0-OpenSSH\r\n"), want: "malformed HTTP"},
		{name: "endless early hints", answer: hijacked(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 2000)), want: "headers exceeded"},
		{name: "another protocol", answer: hijacked("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"), want: "answered 101"},
		{name: "another protocol, and then silence", answer: held(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"), want: "answered 101"},
		{name: "headers without an end", answer: held(t, "HTTP/1.1 200 OK\r\nX-More: "), want: "deadline exceeded"},
		{name: "a chunk without an end", answer: held(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\nx"), want: "deadline exceeded"},
		{name: "a cut answer", answer: hijacked("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx"), want: "not to the end"},
		{name: "a cut refusal", answer: hijacked("HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\nx"), want: "answered 500 Internal Server Error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			target := tt.url
			allowed := []string{"*", "*:" + trap.port}
			if tt.answer != nil {
				r := receive(t, open, tt.answer)
				target = r.url
				allowed = append(allowed, "*:"+r.port)
			}
			d := New(nil, Config{
				Keys: map[string][]Key{"": keysOf(t, secretOf("all"))}, Hosts: allowed,
				Networks: prefixes(open + "/32"), Resolver: names(t, "127.0.0.1"),
			})
			if d.limit = patience; tt.want == "deadline exceeded" {
				d.limit = time.Second
			}
			a := d.call(t.Context(), delivery{tenant: "acme", url: strings.ReplaceAll(target, "PORT", trap.port), event: "job.failed", job: []byte(keptJob)})
			if a.err == nil || !strings.Contains(a.err.Error(), tt.want) {
				t.Errorf("status %d, %v; want %q", a.status, a.err, tt.want)
			}
			if a.err != nil && strings.Contains(a.err.Error(), "http://") {
				t.Errorf("the error tells the URL, in which people put passwords: %v", a.err)
			}
		})
	}
	t.Cleanup(func() { // after all of them
		if len(trap.got) > 0 {
			t.Errorf("%d requests reached a server inside", len(trap.got))
		}
	})
}

func redirect(status int, to string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(status)
	}
}

// drip answers a byte at a time, for ever.
func drip(t *testing.T, every time.Duration, bytes int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for t.Context().Err() == nil && r.Context().Err() == nil {
			fmt.Fprint(w, strings.Repeat("x", bytes))
			w.(http.Flusher).Flush()
			time.Sleep(every)
		}
	}
}

// hijacked answers with bytes of its own and closes.
func hijacked(raw string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		fmt.Fprint(conn, raw)
		conn.Close()
	}
}

// held answers with bytes of its own, and then says nothing more until the test is over.
func held(t *testing.T, raw string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, raw)
		<-t.Context().Done()
	}
}

// An answer may be endless: a 2xx with more body than is read is a success, and its connection is closed.
func TestAnEndlessAnswerIsNotRead(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{})
	r := receive(t, open, func(w http.ResponseWriter, r *http.Request) {
		defer close(closed)
		drip(t, 0, maxAnswer)(w, r)
	})
	d := New(nil, Config{Keys: map[string][]Key{"": keysOf(t, secretOf("all"))}, Hosts: []string{"*:" + r.port}, Networks: prefixes(open + "/32")})
	if a := d.call(t.Context(), delivery{url: r.url, event: "job.failed", job: []byte(keptJob)}); a.err != nil || a.status != 200 {
		t.Errorf("status %d, %v", a.status, a.err)
	}
	<-closed
}

// samePort listens at one port of two addresses. Whoever else has that of the second makes it look for another.
func samePort(t *testing.T, first, second string) (a, b net.Listener) {
	t.Helper()
	for range 100 {
		a = listenAt(t, first)
		b, err := net.Listen("tcp", net.JoinHostPort(second, strconv.Itoa(a.Addr().(*net.TCPAddr).Port)))
		if err == nil {
			return a, b
		}
		a.Close()
	}
	t.Fatal("no port is free at both")
	return nil, nil
}

// A name that is public when it is looked at and inside when it is dialled: each dial is checked as it happens.
func TestANameThatMovesInside(t *testing.T) {
	t.Parallel()
	outside, inside := samePort(t, open, "127.0.0.1")
	defer inside.Close()
	r := receiveOn(t, outside, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") })
	reached := make(chan struct{})
	var once sync.Once
	go func() {
		if conn, err := inside.Accept(); err == nil {
			once.Do(func() { close(reached) })
			conn.Close()
		}
	}()
	d := New(nil, Config{Keys: map[string][]Key{"": keysOf(t, secretOf("all"))}, Hosts: []string{"hooks.example.com:" + r.port},
		Networks: prefixes(open + "/32"), Resolver: names(t, open, "127.0.0.1")})
	x := delivery{url: "http://hooks.example.com:" + r.port + "/", event: "job.failed", job: []byte(keptJob)}
	if a := d.call(t.Context(), x); a.err != nil {
		t.Fatalf("while it is public: %v", a.err)
	}
	if a := d.call(t.Context(), x); a.err == nil || !strings.Contains(a.err.Error(), "127.0.0.1 is inside the network") {
		t.Errorf("when it has moved: %d, %v", a.status, a.err)
	}
	select {
	case <-reached:
		t.Error("it was reached")
	default:
	}
}

// A proxy of the environment would make the check of the dialled address worthless.
func TestNoProxy(t *testing.T) {
	proxy := receive(t, "127.0.0.1", yes)
	r := receive(t, open, yes)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"} {
		t.Setenv(name, "http://127.0.0.1:"+proxy.port)
	}
	d := New(nil, Config{Keys: map[string][]Key{"": keysOf(t, secretOf("all"))}, Hosts: []string{"*:" + r.port},
		Networks: prefixes("127.0.0.0/8"), Resolver: names(t, open)})
	if a := d.call(t.Context(), delivery{url: "http://hooks.example.com:" + r.port, event: "job.failed", job: []byte(keptJob)}); a.err != nil || len(r.got) != 1 || len(proxy.got) != 0 {
		t.Errorf("%v; %d came, %d by the proxy", a.err, len(r.got), len(proxy.got))
	}
}

func TestOneProtocol(t *testing.T) {
	t.Parallel()
	transport := newClient(nil, nil).Transport.(*http.Transport)
	if p := transport.Protocols; !p.HTTP1() || p.HTTP2() || p.UnencryptedHTTP2() || transport.Proxy != nil {
		t.Errorf("protocols %v", p)
	}
}
