// Command chaos runs a whole Sluice under a steady load, breaks what it stands on in every way that we know, one after
// the other, and checks after each that nothing was lost, done twice or charged wrongly, and that the work came back.
//
//	go run .                  every fault once, in the order of a seed that it prints first
//	go run . -for 30m         rounds of all faults until the time is over
//	go run . -seed 7          the order, the victims, the lengths and the load of an earlier run
//	go run . -faults 'zombie' only faults whose name matches this regular expression
//	go run . -pgbouncer       everything reaches PostgreSQL through PgBouncer in transaction mode
//	go run . -quick           six faults, briefly: what `make test` runs
//
// A seed repeats the plan, not the interleaving: processes race as they do.
//
// # What runs
//
// Two of bin/api and four of bin/worker, built from this checkout; a PostgreSQL of their own, with fsync; a provider
// (pkg/llm/llmtest) with half a second of latency, 1 % of answers that end badly and a limit of 100 requests a second. Each
// worker has proxies (toxiproxy, in this process) of its own to the database, to the database for its notifications, and to
// the provider, and each API the first two. They lead to one more in front of the server, by which everybody finds it,
// whichever it is. A worker is dead after 5 s, unless a fault says otherwise; a call may take 8 s.
//
// Clients enqueue at a constant rate over HTTP, whether or not anybody answers: plain jobs, jobs with other priorities,
// delayed ones, batches, requests with an Idempotency-Key that are sent again (for sure after an unclear answer, by chance
// after a clear one), jobs that are cancelled soon after, and a few that the provider refuses. Some change their minds, up to
// three times: they cancel a job while it waits or runs, or see it end, and retry it by hand, at times while somebody else
// cancels it. They note what they asked for and what they were promised. All the time a session holds an old snapshot, so
// that vacuum removes nothing.
//
// # The faults
//
//	kill worker          SIGKILL while it makes calls; another one starts in its place
//	kill, default lease  the same with the lease of 30 s that a worker has by default
//	zombie               SIGSTOP in mid-call, for longer than its lease, while its answers arrive; then SIGCONT
//	zombie, then a pause the same, but the upstream is paused before its jobs are found, so that nobody else takes them
//	kill api             SIGKILL in the middle of a burst of requests; it starts again
//	postgres crash       SIGKILL of the server; it starts again and recovers
//	postgres restart     a fast shutdown, a pause, a start
//	terminate backends   pg_terminate_backend on every session, twice a second
//	read-only            every session that is open, and every new one, refuses writes (25006) for a while
//	failover             a synchronous standby is made under load; the primary is killed for good, everybody is led to the
//	                     standby, which refuses writes until it is promoted, and is the server from then on
//	database half-open   two workers' connections to the database lose every byte, and look alive
//	database slow        every byte between workers and database is late, and they are few a second
//	database resets      every connection between workers and database is reset, again and again
//	provider half-open   two workers' connections to the provider lose every byte, and look alive
//	provider slow        answers come late and slowly
//	provider resets      connections between workers and provider are reset in mid-call
//	connections used up  somebody else holds all connections but a few, and ours are terminated
//	notifications lost   the direct connections, on which notifications come, are cut and stay refused
//	clock                one worker's wall clock is an hour ahead, another one's an hour behind
//	rolling restart      SIGTERM to each worker and each API in turn, and a new one in its place
//	disk full            each insert and update of jobs and attempts fails with 53100
//	provider outage      the provider answers 503
//	429 storm            the provider's limit falls to a tenth of the load, and comes back
//	429 without headers  the provider refuses every call for its rate, and shows a full quota with the others
//
// The clock is set by a worker that is built with another time.Now: Go reads the clock without libc, so that libfaketime
// has nothing to hold on to. Its monotonic clock is true, as it is on a host whose clock is wrong.
//
// # The invariants
//
// After each fault, from one snapshot of the database under load; and again, with those marked *, when all jobs have ended
// and the workers have left:
//
//   - what was accepted (2xx) exists, and what anybody saw done is done; an Idempotency-Key has one job
//   - an order by hand that was answered 200 was obeyed, once; nothing is cancelled or retried that was not ordered; a job that
//     an answer left cancelled or failed is so, under the same lease, until a retry is asked for
//   - a job that has ended never changes again, but for a retry of one that is not done, which gives it a fresh allowance and a
//     new place in line and changes nothing else; a lease moves by one with each claim and each cancel of a running job, and
//     not otherwise; an attempt that has ended never changes, and none gets another worker: triggers note every such change, so
//     that none between two looks is missed
//   - a done job has exactly one ok attempt, any other has none
//   - each number from 1 to the job's lease is that of one attempt, or of a cancel that cut one off
//   - jobs.attempts is the number of charged attempts since the last retry by hand; interrupted, held, rate_limited and
//     cancelled ones are not charged
//   - a failed job has used up its attempts, or was refused
//   - an attempt without an outcome is that of the running job's lease, under the worker that holds it, or was cut off by a
//     cancel a moment ago
//   - each call that the provider saw has its attempt by X-Client-Request-Id, no two calls have the same, and each ok
//     attempt has a call that was answered 200
//   - a queued job has its row in ready, a delayed one in delayed; (*) and neither table has any other row
//   - what ran as the fault was healed does not run under that lease any more when death detection and 15 s have passed
//   - ended_counts adds up to the jobs that have ended; ended has those that failed or were cancelled, as what they are, and no other
//   - no living worker is taken for dead where Postgres stands still for all; nothing but the provider's faults opens its breaker
//   - no process ends unless it is told to, and one that is told to stop ends well
//   - (*) every job has ended
//
// The work is back at the first moment from which the jobs done in 5 s (-quick: 3 s) reach 95 % of as long before the fault, which begins
// only when no backlog of the one before is left. It must come within 30 s of the heal. A breaker that is open by then stays open for as long as it is promised to; where it does the 30 s
// count from its next probe. While the machine itself stands still no time counts, and for a fault in which it did nobody is
// blamed.
//
// A violation ends the run with exit code 1; the seed and the offending ids are printed, and the rig's folder, with
// the logs of all processes and the rows of the offenders, is kept.
package main
