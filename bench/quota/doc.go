// Command quota measures how much of a provider's quota clients get out of it, and how much they hurt it: Sluice, and
// what people use today, each with the same jobs in the same order, against a provider of its own that counts.
//
//	go run ./quota            everything but the long outage, in five minutes on two cores: windows of 10 s
//	go run ./quota -real      sluice x4 alone, in windows of a minute as real providers have them, for 10 minutes; then the
//	                          outages, as they are in 10 s windows, and a long one
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
// # In which scenarios
//
//	requests, tokens       which of the two the provider limits. Nobody has called before: nothing is warmed up
//	..., neighbour         somebody else's program uses the key: it rests and works in turns of a twelfth of a window
//	                       (log-normal with that mean, sigma 0.5), and works at twice its share of 40 % of the limit, as
//	                       a Poisson process. Its calls come at the same times for all contenders
//	..., burst neighbour   it takes its share of each half window at one instant (-real)
//	headers late           no stream: the quota's headers come with the end of the answer
//	headers off            no quota headers, but Retry-After on a 429
//	beside an open         requests, and 100,000 jobs of a second upstream, with a provider of its own that answers 503,
//	upstream               are the head of the queue. They are there, and the fleet knows that they have to wait, before
//	                       the measuring begins. Sluice x4 alone, for the others have one upstream
//	beside a spent         the same, but the second upstream takes one request an hour, and has had it
//	upstream
//	outage, long outage    the provider answers 503 for 20 s, or (-real and -quick) for 50 s, in which the first probes of
//	                       a breaker fall. Calls last six seconds and the window is 10 s, so that many are in flight
//
// # What a scenario scales
//
// The limits are those of a small account (500 requests, or 500,000 tokens, a window), but the window is 10 s instead of
// a minute, and calls last about one second instead of six. Retry-After, which the provider tells in whole seconds, is
// not scaled, and neither is any client's own wait. With -real nothing is scaled, but for the window of the outages.
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
//	lost      = 100 % - used - left: it ran over a full bucket, or was eaten by refused calls, the neighbour's too, of which
//	            each costs a request. The log and the bucket are not read at the very same instant, which may show as
//	            a call more or less
//	used,     = what was admitted of own calls / (limit/window * time + what was in the bucket at the beginning - what is
//	steady      in it at the end - what was admitted of the neighbour's calls), all from one window, or a fifth of the
//	            span if that is shorter, after the start of the measuring to its end. It leaves out the start and the stock:
//	            what is missing to 100 % was lost. A bucket that is kept full loses all that it does not give
//
// With an outage none of these is told, for nothing is usable during it.
//
//	429s      = own calls answered 429, per 100 own calls; the neighbour's likewise
//	in flight = own calls in flight as the outage begins
//	open      = seconds from the first own call that the outage refused until the breaker of the whole fleet opens, by
//	            breaker_events; "-" where there is no such breaker. Both clocks are this machine's
//	in outage = own calls that arrive from one second after that until the outage ends: probes, at most one in 20 s, then one
//	            in 40 s. Where there is no such breaker, from one second after the first call that the outage refused
//	closed    = seconds from the end of the outage to the first own call that is admitted after it: the probe that closes
//	            a breaker, which Sluice's does with the first byte of the answer, 0.6 to 1.8 s later; ">" where none was
//	back      = seconds from closed to the first moment from which admitted calls reach 90 % of the limit's
//	            refill, both in the next tenth of a window and in the next half; ">" where no such moment was seen
//	charged   = attempts that did not end ok and were counted against their jobs, of those that began while a breaker was
//	            open or half-open, from one second after it opened, by Sluice's tables: 0 is promised; "-" where none opened
//	failed    = jobs that ended as failed, by the contender's own books
//	quota tx  = statements on the upstream's row, its quota or its permits, per worker and second, by pg_stat_statements;
//	            plain reads are not among them; "-" where there are none by design, or the extension is missing
//	HOT       = updates of the table upstreams that wrote no index and are pruned without a vacuum, per 100 updates of it,
//	            by pg_stat_user_tables. The database is the trial's own, so that these are all updates from the workers'
//	            first to their last; read when their connections have gone, for each hands in its counts then
//
// # What it does not show
//
// The outage refuses new calls with 503; streams that had begun run to their end. How many those are depends on what the
// contender got before: at full pace it is 300. The short one lasts about as long as a breaker
// stays open the first time (20 s), which is kind to every contender that has one: -outage changes it. The provider's
// limiter is exact and its headers are true. One machine runs everything.
package main
