// Package queue keeps jobs and their attempts in Postgres: enqueue, claim, end, cancel, retry, rescue, list, count.
// It is the only code that writes those tables.
//
//	enqueue ──> queued ──claim──> running ──> done
//	   │          ^  ^               │ ├────> failed
//	   └> delayed ┘  └── rescue ─────┘ ├────> cancelled
//	        ^                          │
//	        └────── retry, limit ──────┘
//
// It promises that an accepted job is kept until it ended, that it ends once, and that every write that ends an attempt
// proves its lease: the worker and the number that the claim gave. Whoever comes too late changes nothing and is told.
//
// `jobs` is the truth. The narrow tables (ready, delayed, claims, cancels) are derived from it and written in the same
// statements, so that the fat rows need no index on anything that changes. Locks are taken in one order: the narrow row,
// then the job, then the attempt.
//
// It never touches the network beyond Postgres, never reads a clock but the database's, and never holds a transaction
// open between two of its calls.
package queue
