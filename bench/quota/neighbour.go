package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
)

// neighbourID begins the ids of the neighbour's calls.
const neighbourID = "neighbour/"

func isNeighbour(id string) bool { return strings.HasPrefix(id, neighbourID) }

// neighbour takes its share of the limit in one burst every half window, until ctx ends. It never tries again.
func neighbour(ctx context.Context, baseURL string, sc scenario) {
	every := sc.window / 2
	burst := int(neighbourShare * sc.pace() * every.Seconds())
	c := newClient(baseURL, burst)
	defer c.close()
	var calls sync.WaitGroup
	defer calls.Wait()
	for wait, round := every/2, 0; sleep(ctx, wait); wait, round = every, round+1 {
		for i := range burst {
			calls.Go(func() {
				// Whatever comes of it is in the provider's log.
				_, _ = c.call(ctx, fmt.Sprintf("%s%d/%d", neighbourID, round, i), job{input: "mine", tokens: tokensPerCall})
			})
		}
	}
}
