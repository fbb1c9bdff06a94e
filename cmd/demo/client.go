package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	callTimeout = 10 * time.Second
	maxAnswer   = 4 << 20 // bytes
)

// client speaks to the API as any application would: plain JSON over HTTP.
type client struct {
	base string
	http *http.Client
}

func newClient(base string) *client {
	return &client{base: base, http: &http.Client{Timeout: callTimeout}}
}

// sample is a job to enqueue.
type sample struct {
	Type    string         `json:"type"`
	Payload map[string]any `json:"payload"`
}

// job is what the demo shows of a job.
type job struct {
	ID         string     `json:"id"`
	Type       string     `json:"type"`
	State      string     `json:"state"`
	CreatedAt  time.Time  `json:"created_at"`
	FinishedAt *time.Time `json:"finished_at"`
	LastError  string     `json:"last_error"`
	Result     *struct {
		OutputText string `json:"output_text"`
	} `json:"result"`
}

func (c *client) enqueue(ctx context.Context, s sample) (id string, err error) {
	var accepted struct {
		ID string `json:"id"`
	}
	err = c.call(ctx, http.MethodPost, "/api/ai/enqueue", s, &accepted)
	return accepted.ID, err
}

func (c *client) job(ctx context.Context, id string) (j job, err error) {
	err = c.call(ctx, http.MethodGet, "/api/ai/jobs/"+id, nil, &j)
	return j, err
}

// status is what the demo shows of the whole: the counts of the queue, and the state of the providers.
type status struct {
	Queue struct {
		Queued  int `json:"queued"`
		Delayed int `json:"delayed"`
		Running int `json:"running"`
		Done    int `json:"done"`
		Failed  int `json:"failed"`
	} `json:"queue"`
	Upstreams []upstream `json:"upstreams"`
}

type upstream struct {
	Name    string `json:"name"`
	Breaker struct {
		State   string     `json:"state"`
		Reason  string     `json:"reason"`
		RetryAt *time.Time `json:"retry_at"`
	} `json:"breaker"`
}

func (c *client) status(ctx context.Context) (s status, err error) {
	err = c.call(ctx, http.MethodGet, "/api/ai/status", nil, &s)
	return s, err
}

// counts is the queue's part of the status, as the API words it.
func (c *client) counts(ctx context.Context) (string, error) {
	var status struct {
		Queue json.RawMessage `json:"queue"`
	}
	if err := c.call(ctx, http.MethodGet, "/api/ai/status", nil, &status); err != nil {
		return "", err
	}
	var line bytes.Buffer
	err := json.Compact(&line, status.Queue)
	return line.String(), err
}

// ready waits until the API says that it is.
func (c *client) ready(ctx context.Context) error {
	for {
		err := c.call(ctx, http.MethodGet, "/readyz", nil, nil)
		if err == nil {
			return nil
		}
		if sleep(ctx, 50*time.Millisecond) != nil {
			return err
		}
	}
}

// call sends body and reads the answer into result, both as JSON; nil means none.
func (c *client) call(ctx context.Context, method, path string, body, result any) error {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(answer))
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer, result)
}
