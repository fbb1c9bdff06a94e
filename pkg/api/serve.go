package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"

	"github.com/google/uuid"
)

// Serve answers on ln until ctx ends. Then it takes no more requests, is no longer ready, ends event streams, and waits for
// the open requests, 15 seconds at most. It closes ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	ctx, end := context.WithCancel(ctx)
	runs := []func(context.Context){s.bell.Run, s.states.Run, s.hub.run}
	if s.keys != nil {
		runs = append(runs, s.keys.Run)
	}
	var crew sync.WaitGroup
	for _, run := range runs {
		crew.Go(func() { run(ctx) })
	}
	defer crew.Wait()
	defer end()
	stop := context.AfterFunc(ctx, func() {
		s.stopping.Store(true)
		s.end.Do(func() { close(s.ending) })
	})
	defer stop()
	return serve(ctx, ln, s.Handler(), s.log, ofConnections)
}

// ServeAdmin does the same with AdminHandler.
func (s *Server) ServeAdmin(ctx context.Context, ln net.Listener) error {
	return serve(ctx, ln, s.AdminHandler(), s.log, ofConnections)
}

func serve(ctx context.Context, ln net.Listener, handler http.Handler, log *slog.Logger, limits connectionLimits) error {
	door := newDoor(limits.connections)
	srv := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: limits.header,
		ReadTimeout:       limits.read,
		WriteTimeout:      limits.write,
		IdleTimeout:       limits.idle,
		MaxHeaderBytes:    limits.headerBytes,
		ConnState:         door.watch,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	var drained sync.WaitGroup
	drained.Go(func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), limits.drain)
		defer cancel()
		if err := srv.Shutdown(grace); err != nil {
			log.Warn("requests were cut off", "after", limits.drain)
			srv.Close()
		}
	})
	err := srv.Serve(problemListener{ln})
	if errors.Is(err, http.ErrServerClosed) {
		drained.Wait()
		return nil
	}
	return fmt.Errorf("serve: %w", err)
}

// problemListener makes problems of the answers that net/http gives by itself, before any handler: to a malformed
// request line, a path with a broken percent-encoding, headers too large, an unknown expectation. It offers no other
// way to change them.
type problemListener struct{ net.Listener }

func (l problemListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &problemConn{conn}, nil
}

type problemConn struct{ net.Conn }

// CloseWrite lets net/http end its side first, so that the client can read to the end.
func (c *problemConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *problemConn) Write(b []byte) (int, error) {
	status, ok := rawRefusal(b)
	if !ok {
		return c.Conn.Write(b)
	}
	if _, err := c.Conn.Write(rawProblem(status)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// rawHeaders are what net/http writes, in one go with the status line, and no handler does: its answers have a Date.
const rawHeaders = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"

// rawRefusal recognises an answer of net/http's own and gives its status.
func rawRefusal(b []byte) (int, bool) {
	const protocol = "HTTP/1.1 "
	// This one it writes like an answer of a handler, but none of ours ever gives it.
	if bytes.HasPrefix(b, []byte(protocol+"417 ")) || bytes.HasPrefix(b, []byte("HTTP/1.0 417 ")) {
		return http.StatusExpectationFailed, true
	}
	line, _, found := bytes.Cut(b, []byte(rawHeaders))
	if !found || !bytes.HasPrefix(line, []byte(protocol)) || bytes.ContainsAny(line, "\r\n") || len(line) < len(protocol)+3 {
		return 0, false
	}
	status, err := strconv.Atoi(string(line[len(protocol) : len(protocol)+3]))
	return status, err == nil && status >= http.StatusBadRequest
}

func rawProblem(status int) []byte {
	id := uuid.NewString()
	body, err := encode(newProblem(&refusal{status: status, detail: "the request is not HTTP as this server takes it: its first line, its path or its headers " +
		"are malformed, too large, or ask for what is not offered here"}, id))
	if err != nil {
		body = nil
	}
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nX-Request-Id: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		status, http.StatusText(status), problemType, id, len(body), body)
}
