package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/sluicedev/sluice/bench/rig"
)

const (
	// neighbourID begins the ids of the neighbour's calls.
	neighbourID    = "neighbour/"
	neighbourShare = 0.4

	turnsPerWindow = 12  // of working and resting, on average
	turnSpread     = 0.5 // sigma of the turns' logarithm
)

func isNeighbour(id string) bool { return strings.HasPrefix(id, neighbourID) }

// working is a neighbour as people's programs are: it rests and works in turns of random length, and works at twice its
// share, as a Poisson process, so that it takes its share over time. These are the times of its calls.
func working(sc scenario, seed uint64) (at []time.Duration) {
	random := rand.New(rand.NewPCG(seed, ^seed)) // another one than the jobs'
	turn := func() time.Duration {
		spread := math.Exp(turnSpread*random.NormFloat64() - turnSpread*turnSpread/2) // its mean is 1
		return time.Duration(spread * float64(sc.window/turnsPerWindow))
	}
	pace := 2 * neighbourShare * sc.pace()
	gap := func() time.Duration { return time.Duration(random.ExpFloat64() / pace * float64(time.Second)) }
	for begins := turn(); begins < sc.span; {
		ends := begins + turn()
		for call := begins + gap(); call < min(ends, sc.span); call += gap() {
			at = append(at, call)
		}
		begins = ends + turn()
	}
	return at
}

// bursting is a neighbour that takes its share of each half window at one instant.
func bursting(sc scenario, _ uint64) (at []time.Duration) {
	every := sc.window / 2
	burst := int(neighbourShare * sc.pace() * every.Seconds())
	for now := every / 2; now < sc.span; now += every {
		for range burst {
			at = append(at, now)
		}
	}
	return at
}

// neighbour makes calls at these times since a moment, until ctx ends. It never tries again.
func neighbour(ctx context.Context, baseURL string, since time.Time, at []time.Duration) {
	c := newClient(baseURL, len(at))
	defer c.close()
	var calls sync.WaitGroup
	defer calls.Wait()
	for i, d := range at {
		if !rig.Pause(ctx, time.Until(since.Add(d))) {
			return
		}
		calls.Go(func() {
			// Whatever comes of it is in the provider's log.
			_, _ = c.call(ctx, fmt.Sprint(neighbourID, i), job{input: "mine", tokens: tokensPerCall})
		})
	}
}
