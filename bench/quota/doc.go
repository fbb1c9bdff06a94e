// Command quota measures how much of a provider's quota clients get out of it, and how much they hurt it: Sluice, and
// what people use today, each with the same jobs in the same order, against a provider of its own that counts.
//
//	go run ./quota            everything, in under five minutes on two cores
//	go run ./quota -quick     everything once and small, to see that it works; its figures mean nothing
//	go run ./quota -help
//
// # Who runs
//
//	sluice x1, x4, x16   that many processes of bin/worker, built from this checkout, on one database
//	recipe x16           16 processes that pop a shared list, call, and on a 429 wait Retry-After plus full jitter; each
//	                     has a circuit breaker of its own (5 failures in a row, 20 s, one probe)
//	openai-go x16        16 clients of the SDK with its built-in retries (2); what still fails goes back to the list's end
//	river x16            16 River clients on one database, that snooze a job on a 429 by Retry-After plus full jitter;
//	                     other errors take River's own retry policy
//
// Processes of the recipe, of openai-go and of River are groups of goroutines with connections of their own, which
// favours them: they share a Go runtime and pay no start. All contenders have the same slots in total, stream every
// call, and never run out of jobs. All contenders of a scenario run at the same time, unless -together says otherwise,
// and share the machine.
//
// # What a scenario scales
//
// The limits are those of a small account (500 requests, or 500,000 tokens, a window), but the window is 10 s instead of
// a minute, and calls last about one second instead of six. Retry-After, which the provider tells in whole seconds, is
// not scaled, and neither is any client's own wait.
//
// # What is counted
//
// Every figure on calls comes from the provider's log, never from the contender. The neighbour's calls are known by
// their ids; all others are the contender's own. A run is measured from the return of the call that hands over the jobs
// (or the first call, if that is earlier) to the end of the span; calls that arrive in between count, however they end.
// In the dimension that the scenario limits (requests, or tokens as charged at admission):
//
//	usable    = the full bucket at the start + limit/window * measured time - what was admitted of the neighbour's calls
//	used      = what was admitted of the contender's own calls / usable
//	left      = what is in the bucket at the end / usable: a stock, not lost, but not used either. A reserve of 5 % of the
//	            bucket shows up here as more than 1 % of such a short span
//
// and what is missing to 100 % was lost: it ran over a full bucket, or was eaten by refused calls, of which each costs a
// request. With an outage, used and left are not told, for nothing is usable during it.
//
//	429s      = own calls answered 429, per 100 own calls; the neighbour's likewise
//	in flight = own calls in flight as the outage begins
//	in outage = own calls that arrive from one second after the first that the outage refused until it ends
//	back      = seconds from the end of the outage to the first moment from which admitted calls reach 90 % of the limit's
//	            refill, both in the next tenth of a window and in the next half; ">" where no such moment was seen
//	failed    = jobs that ended as failed, by the contender's own books
//	quota tx  = statements on the upstream's row, its quota or its permits, per worker and second, by pg_stat_statements;
//	            plain reads are not among them; "-" where there are none by design, or the extension is missing
//
// # What it does not show
//
// The outage refuses new calls with 503; streams that had begun run to their end. How many those are depends on what the
// contender got before: at full pace it is 300. It lasts about as long as a breaker
// stays open the first time (20 s), which is kind to every contender that has one: -outage changes it. The provider's
// limiter is exact and its headers are true. One machine runs everything.
package main
