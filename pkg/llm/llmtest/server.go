package llmtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

const (
	headerTimeout = time.Minute // generous: a loaded machine is slow, and a client may have a connection ready that it does not use yet
	closeTimeout  = time.Minute
)

// Server is a simulator that listens.
type Server struct {
	*Simulator
	listener net.Listener
	http     *http.Server
	done     chan struct{} // closed when it no longer serves, for the reason in err
	err      error
}

// Listen starts a simulator on addr, such as 127.0.0.1:0. Close ends it.
func Listen(addr string, options ...Option) (*Server, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("simulator: %w", err)
	}
	simulator := New(options...)
	s := &Server{
		Simulator: simulator,
		listener:  listener,
		http:      &http.Server{Handler: simulator, ReadHeaderTimeout: headerTimeout},
		done:      make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		s.err = s.http.Serve(listener)
	}()
	return s, nil
}

// TB is what Start needs of a testing.TB, so that a binary can use this package without package testing.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Start starts a simulator on a free port of the loopback for as long as the test runs.
func Start(tb TB, options ...Option) *Server {
	tb.Helper()
	s, err := Listen("127.0.0.1:0", options...)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("%v", err)
		}
	})
	return s
}

// URL is the root, without a slash at its end. The API is also served right below it, so that it may serve as a base URL.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() }

// BaseURL is what a client of the API is configured with.
func (s *Server) BaseURL() string { return s.URL() + "/v1" }

// Wait blocks until the server no longer serves, by Close or because ctx ended, and closes it. The error says why it
// failed; nil when it was only told to stop.
func (s *Server) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-s.done:
	}
	err := s.Close()
	if errors.Is(s.err, http.ErrServerClosed) {
		return err
	}
	return errors.Join(s.err, err)
}

// Close breaks off all calls and waits until nothing of the server runs any more. It may be called again.
func (s *Server) Close() error {
	s.close()
	err := s.http.Close()
	<-s.done
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if idle := s.AwaitIdle(ctx); idle != nil {
		err = errors.Join(err, fmt.Errorf("simulator: calls still run: %w", idle))
	}
	return err
}
