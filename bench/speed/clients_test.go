package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// counter answers as the API does, and checks what it is asked.
func counter(t *testing.T, status int) (address string, jobs *atomic.Int64) {
	t.Helper()
	jobs = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		many := make([]any, 1)
		if strings.HasPrefix(string(body), "[") && json.Unmarshal(body, &many) != nil || !json.Valid(body) {
			t.Errorf("no JSON: %s", body)
		}
		jobs.Add(int64(len(many)))
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"id":"7-8-9","more":{"id":1}}`)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), jobs
}

func TestRequestIsOneForItsJobs(t *testing.T) {
	t.Parallel()
	for batch, want := range map[int]int64{1: 1, 3: 3} {
		address, jobs := counter(t, http.StatusAccepted)
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		s := clientsSpec{Address: address, Path: "/jobs", Type: "plain", Batch: batch, Payload: 300}
		if _, err := conn.Write(s.request(5)); err != nil {
			t.Fatal(err)
		}
		id, err := accepted(bufio.NewReader(conn))
		if err != nil || id != "7-8-9" || jobs.Load() != want {
			t.Errorf("id %q, %v; %d jobs, want %d", id, err, jobs.Load(), want)
		}
	}
}

func TestRefusalIsAnError(t *testing.T) {
	t.Parallel()
	address, _ := counter(t, http.StatusServiceUnavailable)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(clientsSpec{Address: address, Path: "/", Batch: 1, Payload: 100}.request(0)); err != nil {
		t.Fatal(err)
	}
	if _, err := accepted(bufio.NewReader(conn)); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("%v, want a 503", err)
	}
}

func TestWarmingUpIsNotCounted(t *testing.T) {
	t.Parallel()
	began := time.Now()
	p := pace{Clients: 3, Warm: 30 * time.Millisecond, Span: 30 * time.Millisecond}
	all, err := p.drive(t.Context(), func() (caller, error) {
		return func(int) (string, error) { return "job", nil }, nil
	})
	if err != nil || len(all) == 0 {
		t.Errorf("%d calls are counted, %v", len(all), err)
	}
	for _, s := range all {
		if s.From.Before(began.Add(p.Warm)) || s.Until.Before(s.From) || s.Job != "job" {
			t.Fatalf("%+v is counted", s)
		}
	}
}

func TestPacedRequestsKeepTheirRate(t *testing.T) {
	t.Parallel()
	p := pace{Clients: 50, Span: 500 * time.Millisecond, Rate: 400}
	all, err := p.drive(t.Context(), func() (caller, error) {
		return func(int) (string, error) { return "", nil }, nil
	})
	// 200 are expected, with a standard deviation of 14; a busy machine may make them late, but never more.
	if err != nil || len(all) == 0 || len(all) > 300 {
		t.Errorf("%d requests, %v", len(all), err)
	}
}

// What is not answered before the time that is counted is over, as where a machine stands still, is tried once more.
func TestADriveThatCountedNothingGoesOn(t *testing.T) {
	t.Parallel()
	p := pace{Clients: 1, Span: 10 * time.Millisecond}
	connections := 0
	all, err := p.drive(t.Context(), func() (caller, error) {
		if connections++; connections == 1 {
			time.Sleep(2 * p.Span) // that long does the machine stand still
		}
		return func(int) (string, error) { return "", nil }, nil
	})
	if err != nil || len(all) == 0 || connections < 2 {
		t.Errorf("%d requests are counted over %d connections, %v", len(all), connections, err)
	}
}

func TestErrorOfAClientEndsTheDrive(t *testing.T) {
	t.Parallel()
	p := pace{Clients: 2, Span: 20 * time.Millisecond}
	_, err := p.drive(t.Context(), func() (caller, error) {
		return func(int) (string, error) { return "", context.DeadlineExceeded }, nil
	})
	if err == nil {
		t.Error("no error")
	}
}
