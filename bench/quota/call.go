package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// client makes calls without any care for limits: what the peers that bring no client of their own use.
type client struct {
	http *http.Client
	url  string
}

// newClient has connections of its own, as a process has.
func newClient(baseURL string, slots int) client {
	return client{http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: slots}}, url: baseURL + "/responses"}
}

func (c client) close() { c.http.CloseIdleConnections() }

// answer is what a client without care for headers knows of a call.
type answer struct {
	status     int
	retryAfter time.Duration // 0: none
}

// call streams one answer to its end.
func (c client) call(ctx context.Context, id string, j job) (answer, error) {
	body, err := json.Marshal(map[string]any{"model": model, "input": j.input, "max_output_tokens": j.tokens, "stream": true})
	if err != nil {
		return answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Client-Request-Id", id)
	res, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	seconds, _ := strconv.Atoi(res.Header.Get("Retry-After")) // the provider here sends whole seconds or nothing
	return answer{status: res.StatusCode, retryAfter: time.Duration(seconds) * time.Second}, err
}

// maxSpread bounds the random part of a wait.
const maxSpread = time.Minute

// limited is how long to wait after a job's strikes-th 429 in a row: Retry-After as a floor, and up to 2^strikes seconds
// on top, at most a minute. It is the wait that Sluice takes after a 429, too.
func limited(retryAfter time.Duration, strikes int) time.Duration {
	return retryAfter + time.Duration(rand.Float64()*min(math.Pow(2, float64(strikes)), maxSpread.Seconds())*float64(time.Second))
}
