// Package breaker is the circuit breaker of one upstream as a pure state machine: values in, values out. The whole fleet
// shares one; pkg/upstream keeps it in Postgres.
//
//	          5 failures in a row of 3 jobs, or half of 20 calls in 30 s;
//	          the account stops; a second job confirms a refused credential or model, and no other succeeds
//	closed ──────────────────────────────────────────────────────────────────────> open <── Pause
//	   ^ ^                                                                         │  ^
//	   │ └─────────────────────────────── Resume after Pause ──────────────────────┤  │ the probe fails, is held,
//	   │                            retry_at is over, or the credential is untried:│  │ or ends without an answer
//	   │        the probe's first event came, or any answer of a living provider   v  │
//	   └────────────────────────────────────────────────────────────────────── half-open
//
// Promises: at most one permit for a probe is in force at any time. Every change of state raises the generation, and an
// answer that carries an older one changes none; a late success still clears a suspicion of its credential. A report of successes from the fleet ends a run of failures. Time is
// an argument, elapsed time is never negative, and RetryAt is never further away than the longest time to stay open.
//
// The same permit serves the cold start: an upstream that nobody has heard from is closed, but admits one call.
//
// A refused credential may be one worker's alone, which has an old key. So the breaker remembers, by their fingerprints,
// which credentials are refused, and which succeeded last:
//
//	          a second job confirms the refusal, while another credential succeeds
//	accepted ──────────────────────────────────────────────────────────────────────> refused
//	         <──────────────────────────────────────────────────────────────────────
//	          a success, any answer of a living provider to a probe, or Resume while closed
//
// While the breaker is closed, workers with a refused credential are parked: they leave the jobs to the others, but for a
// call now and then. While it is open for credentials, a worker with an untried one need not wait to probe. Without a
// fingerprint all credentials are taken for one.
//
// It never sleeps, never reads a clock or a random source, and never does I/O.
package breaker
