package main

import (
	"context"
	"os/exec"
)

// bulk is how many jobs are handed over at once.
const bulk = 10_000

// contender is a queue on Postgres.
type contender interface {
	tabled
	// portion is how many of so many jobs it is given: less than all where they would take minutes.
	portion(jobs int) int
	// fill hands over jobs that are ready to start, by the fastest way that it has.
	fill(ctx context.Context, url string, l load) error
	// worker is the command of a process that does such work. It tells what a crew listens to.
	worker(url string, l load) (*exec.Cmd, error)
	// leftSQL asks whether any of the newest $1 jobs is not done. It is cheap while there is one.
	leftSQL() string
}

// contenders are all that drain, in the order of the tables.
func (b *bench) contenders() []contender {
	return append([]contender{sluicePlain, sluicePaced, riverFastest, riverDefaults}, b.peers()...)
}

// peers are those that run on Node.js, if that could be had.
func (b *bench) peers() (all []contender) {
	if b.node == nil {
		return nil
	}
	for _, p := range b.nodePeers() {
		all = append(all, p)
	}
	return all
}
