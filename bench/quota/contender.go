package main

import (
	"context"
	"fmt"
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
	postgres *postgres
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
