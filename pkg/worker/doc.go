// Package worker runs jobs: it claims them, makes the calls and records what became of each.
//
// One life of a worker is a few goroutines around one small state:
//
//	pulse   beats, on connections of its own, so that busy calls never starve it
//	guard   looks, in one statement, who waits, what was cancelled and whose beat stands still; rescues the jobs of the dead
//	ticker  once a second reads the breakers, clears up after claims, and does the fleet's upkeep; nothing while idle
//	promoter queues delayed jobs when they fall due
//	claimer the only one that claims, as many jobs as there are slots, line by line
//	attempt one per running job: the call, the verdict, the end
//	recorder writes ends: one alone at once, those that come meanwhile together
//	reporter tells the fleet of failures within 50 ms, and of successes in bulk; buys permits where a quota is known
//
// It promises that no call starts without a lease, on a breaker known to be open, or after the worker may have been taken
// for dead; that what a call brought is recorded even while it stops; that a stop gives unfinished jobs back uncharged;
// and that it holds nothing that the others could not rebuild from Postgres.
//
// It contains no SQL and opens no transaction around a call. A worker that was given up for dead while it was frozen
// finds out at its next beat, drops all it ran, and goes on under a new name.
package worker
