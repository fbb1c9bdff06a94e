package main

import "time"

// scale is how large everything is.
type scale struct {
	trials int // of everything but idle fleets

	processes []int // that drain together
	jobs      int   // in a drain
	large     int   // in a drain of large jobs

	clients    []int         // of jobs that come one by one
	senders    []int         // of batches
	batch      int           // jobs in a batch
	warm, span time.Duration // of enqueueing: not counted, counted

	rates                []int // jobs a second, of enqueue to start
	startWarm, startSpan time.Duration

	kept            int // finished jobs that a queue holds beside those that are drained
	delayed, parked int // delayed jobs, jobs of a paused upstream, likewise

	calls int // in flight

	fleet              int // idle workers
	idleWarm, idleSpan time.Duration
}

var (
	full = scale{
		trials:    3,
		processes: []int{1, 2, 4}, jobs: 100_000, large: 5_000,
		clients: []int{1, 32, 256}, senders: []int{1, 4}, batch: bulk, warm: 500 * time.Millisecond, span: 4 * time.Second,
		rates: []int{50, 500}, startWarm: time.Second, startSpan: 8 * time.Second,
		kept: 1_000_000, delayed: 1_000_000, parked: 100_000,
		calls: 10_000,
		fleet: 20, idleWarm: 5 * time.Second, idleSpan: 20 * time.Second,
	}
	quick = scale{
		trials:    1,
		processes: []int{1}, jobs: 1_000, large: 100,
		clients: []int{1, 8}, senders: []int{1}, batch: 100, warm: 20 * time.Millisecond, span: 200 * time.Millisecond,
		rates: []int{50}, startWarm: 50 * time.Millisecond, startSpan: 300 * time.Millisecond,
		kept: 1_000, delayed: 1_000, parked: 1_000,
		calls: 100,
		fleet: 2, idleWarm: 100 * time.Millisecond, idleSpan: time.Second,
	}
)
