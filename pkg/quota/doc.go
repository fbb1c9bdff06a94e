// Package quota is the budget of one upstream as a pure machine: values in, values out. The whole fleet shares one;
// pkg/upstream keeps it in Postgres.
//
// A provider's limit is a token bucket: it holds a whole window's limit and refills continuously (60 calls a minute: one a
// second, up to 60). One answer's headers tell its whole state, so nothing is configured. This package keeps a copy of the
// bucket, anchored by every answer, and sells permits from it in chunks:
//
//	             refill, limit/window a second, minus what others are believed to use
//	                    v
//	  limit  ┌────────────────────┐
//	         │                    │ <── Observe: what remained when a call was admitted,
//	  level  │~~~~~~~~~~~~~~~~~~~~│         plus the refill since, minus our own bookings since (the ring)
//	         │  calls and tokens  │ ──> Take: a chunk of permits, booked in the ring over the time it is spent in
//	reserve  │--------------------│ <── Return: permits that were not used, taken out of where they were booked
//	      0  └────────────────────┘ <── Refused: a call's tokens, taken out where they were booked; then anchored
//
//	ring   ... │ 3 │ 1 │ 4 │ 2 │ 2 ┊ 1 │ 1 │      own starts, 250 ms a slot; the last ones are still to come
//	                 ^ admitted    ^ now
//
// Permits that are granted but not yet spent: a grant is booked as it is meant to be spent, the first call at once and the
// others evenly over the asked interval. So all that is booked after the slot in which an observed call was admitted, up
// to and beyond now, is not in what the provider said, and all before it is. Nobody has to report what was sent. A worker
// that spends faster makes the level look lower than it is, one that spends slower or dies makes it look higher, both by
// no more than its chunk and until the next observation.
//
// The reserve is there for that, and for what others take at one go before an answer tells of it. It is learned: as deep as
// the bucket was found below it lately, from 2 % of the limit where nobody else is on the key to 30 % (reserve.go).
//
// What is booked for a call is an estimate of what the provider charges, which may be another thing altogether. So the price
// of a booked token is learned as well, from what two readings tell beside what was booked between them (price.go).
//
// Where the readings come from decides what bounds the pace besides the level:
//
//	headers   the level alone
//	body      only refusals tell the level, of the dimension that tripped; while the bucket is kept near empty and nothing
//	          is refused, the assumed refill grows, slowly and then ever faster, so that a raised limit is found
//	blind     nothing tells; a rate of starts that falls with each refusal and grows by a cubic between them
//
// It is kept as JSON, in half the bytes that plain encoding would take (kept.go).
//
// Promises: a level is never above its limit and never not a number, whatever is observed. An answer that comes late, with
// an old limit or an old level, changes nothing. A refused call is refunded once. What others are believed to use never
// stops all sending, and a bucket that nobody has heard from for ten minutes lets one call go. A Wait is never zero where
// nothing was granted, and the same ask is granted something once it is over, if nobody else took it.
//
// A worker takes a chunk every tau, or when the hint of a take that granted nothing is over, whichever is later; in
// between it hands in what it saw with its takes, and refusals at once. With N workers that is at most N/tau takes a second.
//
// It never sleeps, never reads a clock or a random source, and never does I/O. It imports nothing of ours.
package quota
