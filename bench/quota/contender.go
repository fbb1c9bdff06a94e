package main

import (
	"context"
	"fmt"
	"time"
)

// contender is a way to get jobs done against a quota.
type contender interface {
	name() string
	// start returns once it could work, with nothing to do yet.
	start(ctx context.Context, at place) (fleet, error)
}

// place is what a contender is given for one run.
type place struct {
	run      string // a name for the run, good for a database
	baseURL  string // of the provider
	parked   string // base URL of a second upstream's provider; "": there is none
	postgres postgres
	slots    int // calls in flight at most, of all its processes together
}

// fleet is a contender at work.
type fleet interface {
	// load hands over all jobs, in order, and returns once they are accepted; calls may begin earlier.
	load(ctx context.Context, jobs []job) error
	// failed is how many jobs it has given up.
	failed(ctx context.Context) (int, error)
	// stop ends everything that start began.
	stop() error
}

// accountant is a fleet that keeps its quota in Postgres.
type accountant interface {
	// quotaStatements is how many statements that took so far; false where that cannot be known.
	quotaStatements(ctx context.Context) (int64, bool, error)
	workers() int
	// books are what can be told only after stop.
	books(ctx context.Context) (books, error)
}

// parker is a fleet that can be given jobs of a second upstream, whose provider takes none.
type parker interface {
	// park hands over that many, and returns once the fleet knows that they have to wait.
	park(ctx context.Context, jobs int) error
}

// books are what a fleet wrote down in Postgres.
type books struct {
	updates, hot int64      // of the table of upstreams
	opened       *time.Time // a breaker, for the first time; nil: none did
	charged      int        // attempts from a second after that until it closed which failed and were counted against their jobs
}

// contenders are all, in the order of the table.
func contenders(programs programs, s scale) []contender {
	var all []contender
	for _, n := range s.fleets {
		all = append(all, sluice{programs, processes(n)})
	}
	return append(all, recipe{processes(s.peers)}, sdk{processes(s.peers)}, snoozer{processes(s.peers)})
}

// processes is how many a contender consists of.
type processes int

func (n processes) of(what string) string { return fmt.Sprintf("%s x%d", what, n) }
