package main

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// tellEvery is how often a worker says how far it is.
const tellEvery = 10 * time.Millisecond

// tally counts what a worker process has handled, and tells it to the parent: "first" and the time of its first job in
// nanoseconds since 1970, then "handled" and a number whenever that has grown.
type tally struct {
	n     atomic.Int64
	first atomic.Int64
}

// add notes that a job is being handled, and which one of the process it is, from 1.
func (t *tally) add() int {
	n := t.n.Add(1)
	if n == 1 {
		t.first.Store(time.Now().UnixNano())
	}
	return int(n)
}

// tell goes on until ctx ends.
func (t *tally) tell(ctx context.Context, out io.Writer) {
	ticker := time.NewTicker(tellEvery)
	defer ticker.Stop()
	told := int64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		first, n := t.first.Load(), t.n.Load()
		if n == told || first == 0 {
			continue
		}
		if told == 0 {
			fmt.Fprintln(out, "first", first)
		}
		fmt.Fprintln(out, "handled", n)
		told = n
	}
}
