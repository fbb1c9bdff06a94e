package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// clientsSpec is what a process of HTTP clients is told: each keeps its connection.
type clientsSpec struct {
	Pace          pace
	Address, Path string
	Type          string // of Sluice's jobs; "": the payload is sent as it is
	Batch         int    // jobs in a request; 1: no array
	Payload       int    // bytes of a job's
}

// differing is how many bodies the clients send in turn.
const differing = 16

// httpClients is the process. It writes what was sent as JSON.
func httpClients(ctx context.Context, spec []byte, parent parent) error {
	var s clientsSpec
	if err := json.Unmarshal(spec, &s); err != nil {
		return err
	}
	requests := make([][]byte, differing)
	for i := range requests {
		requests[i] = s.request(i)
	}
	all, err := s.Pace.drive(ctx, func() (caller, error) {
		conn, err := net.Dial("tcp", s.Address)
		if err != nil {
			return nil, err
		}
		answers := bufio.NewReader(conn)
		return func(n int) (string, error) {
			if _, err := conn.Write(requests[n%len(requests)]); err != nil {
				return "", err
			}
			return accepted(answers)
		}, nil
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(parent.out).Encode(all)
}

// request is one as it goes over the wire: what a client itself costs is kept small, for the server shares its machine.
func (s clientsSpec) request(n int) []byte {
	jobs := make([]string, s.Batch)
	for i := range jobs {
		jobs[i] = payload(n*len(jobs)+i, s.Payload)
		if s.Type != "" {
			jobs[i] = fmt.Sprintf(`{"type":%q,"payload":%s}`, s.Type, jobs[i])
		}
	}
	body := strings.Join(jobs, ",")
	if s.Batch > 1 {
		body = "[" + body + "]"
	}
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		s.Path, s.Address, len(body), body)
}

// accepted reads an answer and returns the id of the job, if it was for one.
func accepted(answers *bufio.Reader) (id string, err error) {
	response, err := http.ReadResponse(answers, nil)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusAccepted {
		return "", fmt.Errorf("%s: %.1000s", response.Status, body)
	}
	var answer struct{ ID json.RawMessage }
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", err
	}
	return strings.Trim(string(answer.ID), `"`), nil
}
