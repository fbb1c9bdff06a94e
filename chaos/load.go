package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	requestTimeout = 10 * time.Second
	maxOpen        = 300              // requests at a time; an API that is down must not drown us
	repeatFor      = 60 * time.Second // an unclear answer to a request with a key is asked for again
	batchSize      = 5
)

var jobTypes = []string{"kb.ingest", "diary.entry", "autopoietic.tick"}

// load is the clients. They enqueue a constant number of jobs a second, whether or not anybody answers.
type load struct {
	apis   []string // their addresses
	rate   float64  // jobs a second
	ledger *ledger
	http   *http.Client

	mu     sync.Mutex
	random *rand.Rand
	next   atomic.Int64 // numbers requests, and takes turns between the APIs
	open   chan struct{}
	all    sync.WaitGroup
}

func newLoad(apis []string, rate float64, random *rand.Rand, ledger *ledger) *load {
	return &load{apis: apis, rate: rate, ledger: ledger, random: random, open: make(chan struct{}, maxOpen),
		http: &http.Client{Timeout: requestTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: maxOpen}}}
}

// run enqueues until ctx ends, and waits for the last answers.
func (l *load) run(ctx context.Context) {
	every := time.Duration(float64(time.Second) / l.rate)
	for due := time.Now(); sleep(ctx, time.Until(due)); {
		n, client := l.choose()
		l.begin(context.WithoutCancel(ctx), client)
		due = due.Add(time.Duration(n) * every)
	}
	l.all.Wait()
}

// begin lets a client act, unless too many do already.
func (l *load) begin(ctx context.Context, client func(context.Context)) {
	select {
	case l.open <- struct{}{}:
	default:
		l.ledger.change(func(to *ledger) { to.skipped++ })
		return
	}
	l.all.Go(func() {
		client(ctx)
		<-l.open
	})
}

// choose draws what the next client does, and how many jobs that is.
func (l *load) choose() (jobs int, client func(context.Context)) {
	switch p := l.draw(100); {
	case p < 15:
		return 1, l.keyed
	case p < 25:
		return 1, l.delayed
	case p < 29:
		return batchSize, l.batch
	case p < 33:
		return 1, l.cancelled
	case p < 38:
		return 1, l.steered
	case p < 39:
		return 1, func(ctx context.Context) { l.plain(ctx, "[[sim:bad_request]]") }
	default:
		return 1, func(ctx context.Context) { l.plain(ctx, "") }
	}
}

func (l *load) draw(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.random.IntN(n)
}

// dither waits for up to a time.
func (l *load) dither(ctx context.Context, most time.Duration) {
	sleep(ctx, time.Duration(l.draw(int(most.Milliseconds())))*time.Millisecond)
}

// job is the body of a request. Every third asks for a priority of its own.
func (l *load) job(directive string) map[string]any {
	n := l.next.Add(1)
	job := map[string]any{
		"type":    jobTypes[l.draw(len(jobTypes))],
		"payload": map[string]any{"input": fmt.Sprintf("job %d %s", n, directive), "userId": n},
	}
	if l.draw(3) == 0 {
		job["priority"] = 1 + l.draw(10)
	}
	return job
}

func (l *load) plain(ctx context.Context, directive string) { l.enqueue(ctx, l.job(directive), "") }

func (l *load) delayed(ctx context.Context) {
	job := l.job("")
	job["delay_ms"] = 500 + l.draw(6000)
	l.enqueue(ctx, job, "")
}

func (l *load) batch(ctx context.Context) {
	var jobs []any
	for range batchSize {
		jobs = append(jobs, l.job(""))
	}
	var made struct{ IDs []string }
	status := l.post(ctx, "/api/ai/enqueue/batch", jobs, "", &made)
	if status/100 == 2 {
		l.ledger.change(func(to *ledger) { to.accepted = append(to.accepted, made.IDs...) })
	}
}

// cancelled enqueues a job and changes its mind within two seconds: it waits, runs or is done by then.
func (l *load) cancelled(ctx context.Context) {
	id := l.enqueue(ctx, l.job(""), "")
	if id == "" {
		return
	}
	l.dither(ctx, 2*time.Second)
	l.order(ctx, id, cancel)
}

// keyed sends a request with a key until the answer is clear, and half the time once or twice more.
func (l *load) keyed(ctx context.Context) {
	job := l.job("")
	key := fmt.Sprintf("key-%d", l.next.Add(1))
	deadline := time.Now().Add(repeatFor)
	for l.enqueue(ctx, job, key) == "" && time.Now().Before(deadline) {
		sleep(ctx, time.Duration(100+l.draw(400))*time.Millisecond)
	}
	for range l.draw(4) - 1 {
		l.dither(ctx, time.Second)
		l.enqueue(ctx, job, key)
	}
}

// twins send the same request with the same key at the same moment.
func (l *load) twins(ctx context.Context) {
	job := l.job("")
	key := fmt.Sprintf("twin-%d", l.next.Add(1))
	for range 2 {
		l.all.Go(func() {
			for deadline := time.Now().Add(repeatFor); l.enqueue(ctx, job, key) == "" && time.Now().Before(deadline); {
				sleep(ctx, time.Duration(100+l.draw(400))*time.Millisecond)
			}
		})
	}
}

// enqueue posts one job and notes what was promised. "": nothing was.
func (l *load) enqueue(ctx context.Context, job any, key string) (id string) {
	var made struct{ ID string }
	status := l.post(ctx, "/api/ai/enqueue", job, key, &made)
	switch {
	case status/100 != 2:
		return ""
	case made.ID == "":
		l.ledger.change(func(to *ledger) { to.wrong = append(to.wrong, fmt.Sprintf("%d without an id", status)) })
	case key != "":
		l.ledger.keyed(key, made.ID)
	default:
		l.ledger.change(func(to *ledger) { to.accepted = append(to.accepted, made.ID) })
	}
	return made.ID
}

func (l *load) post(ctx context.Context, path string, body any, key string, answer any) (status int) {
	return l.request(ctx, http.MethodPost, path, body, key, answer)
}

// request asks the API whose turn it is, and gives the status, or 0 where no whole answer came.
func (l *load) request(ctx context.Context, method, path string, body any, key string, answer any) (status int) {
	defer func() { l.note(path, status) }()
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err) // all bodies are ours
	}
	api := l.apis[int(l.next.Add(1))%len(l.apis)]
	req, err := http.NewRequestWithContext(ctx, method, api+path, bytes.NewReader(raw))
	if err != nil {
		panic(err)
	}
	if body == nil {
		req.Body, req.ContentLength = http.NoBody, 0
	} else {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := l.http.Do(req)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode/100 == 2 && json.Unmarshal(text, answer) != nil {
		return 0
	}
	return res.StatusCode
}

// note counts an answer. A 4xx says that the client did something wrong, and it did not: but a job may have ended, or be
// unknown to nobody, when its cancel comes.
func (l *load) note(path string, status int) {
	l.ledger.change(func(to *ledger) {
		to.asked++
		switch {
		case status == 0 || status >= 500:
			to.unclear++
		case status >= 400 && status != http.StatusConflict:
			to.wrong = append(to.wrong, fmt.Sprintf("%d for %s", status, path))
		}
	})
}
