// Command speed measures how fast Sluice is and what it costs, beside other queues on Postgres, on the same work, in turns.
//
//	go run ./speed                          everything, in about 25 minutes on two cores
//	go run ./speed -only drain -contender 'sluice|^river$' -test '^1 '
//	go run ./speed -quick                   everything once and small, to see that it works; its figures mean nothing
//	go run ./speed -help
//
// At the end stands a table of what was promised, each ratio beside its bar. -write makes docs/benchmarks.md and its plots.
//
// # Who runs
//
//	sluice           pkg/worker with a handler that does nothing (handler: custom), 2,000 slots, and the connections of
//	                 bin/worker; or, where it says so below, bin/api and bin/worker, built from this checkout
//	sluice paced     the same, for a type that names an upstream, which shows no limit: breaker and quota are looked at
//	river            River at the settings of its own benchmark: 2,000 workers, a fetch every 2 ms, a poll every 20 ms
//	river 100        the same with 100 workers, where results are large: the completions of 2,000 workers are one
//	                 statement, which then runs into River's time-out, and the jobs stay as running
//	river defaults   River as it comes, with the 100 workers that its manual begins with. It drains a tenth of the jobs
//	river over HTTP  River's insert behind the least handler of Echo, with as many connections as bin/api: the yardstick
//	                 of enqueueing
//	graphile-worker  with the settings of its performance page, but for a larger local queue, which is faster here. It
//	                 deletes jobs that are done, and keeps nothing of them
//	pg-boss          with batches of 1,000, each job with its output, fetched without a pause while they come back full
//
// The last two come from npm, with the Node.js that they need, once for all runs; without npm they are left out, and in CI
// that is a failure. Every worker is a process of its own. River records an output for each job, as Sluice does.
//
// All run on one private PostgreSQL with fsync and synchronous_commit on. It has a checkpoint before each trial and none
// during one; so each page's first change is in the WAL as a whole page, for all alike. Each trial has a database of its
// own, but for those of flatness that are filled first.
//
// # In which tests
//
//	drain             100,000 jobs with 300 bytes of JSON are all there, ANALYZEd, when 1, 2 or 4 processes are told to
//	                  go; each job's handler returns 100 bytes. Large: 5,000 jobs with 8 kB, whose handlers return 20 kB
//	enqueue           one job a request, or 10,000, into an empty queue that nobody works, by clients in a process of
//	                  their own with connections that they keep. Sluice's is bin/api. For batches there is River's
//	                  InsertManyFast without any HTTP, too: "river"
//	enqueue to start  jobs come over HTTP at random times, at that rate on average, to a fleet of one worker, which
//	                  calls a provider, whose clock counts: bin/worker, or a handler of River's with the same client
//	flatness          the drain by two processes: of a queue with nothing else in it; with a million finished jobs kept
//	                  (-kept changes it), each with its attempt and its result; with a million jobs that are due in a day;
//	                  with 100,000 jobs of an upstream that is paused by hand, ahead of all; and while a session that
//	                  began before the workers did holds its snapshot, so that no dead row may go
//	in flight         10,000 calls of one bin/worker at a provider that answers none of them until all are there
//	idle              20 workers that have nothing to do
//
// # What is counted
//
// Every figure is the median of all trials, and the range of the first column is told. Contenders take turns within a
// trial, so that what disturbs the machine disturbs all of them.
//
//	jobs/s          of a drain: from when the first handler begins until the last job is seen to be done. Workers tell
//	                how many jobs they have begun; once that is all, the database is asked every 10 ms
//	                of enqueueing: from the first request after the warming up until the last answer. What is answered
//	                is durable
//	Postgres us/job CPU of the server and all its processes, by /proc, from the order to go until the last job is done
//	worker us/job   likewise of the worker processes, without their start
//	WAL B/job       likewise, by pg_current_wal_lsn()
//	commits/job     by pg_stat_database, from before the workers start until they have ended. A statement that only reads
//	                is a commit, too. Our own are taken off
//	p50, p99 ms     of enqueueing: from sending a request until its answer
//	                of enqueue to start: from the answer until the call arrives; "from sending" says what it says
//	RSS KiB/call    all of the worker's memory while all calls are in flight, a call; heap: what is in use of it after a
//	                collection
//	CPU us/call     of the worker, from the enqueue until all are done: each is claimed, made, streamed and recorded
//	connections     to Postgres, of the worker, while all calls are in flight
//	queries/s       statements of all workers by pg_stat_statements, a worker; "-" where that extension is missing
//
// # What it does not show
//
// Handlers that do nothing make the queue the whole cost, which it never is for calls that take seconds. Everything runs on
// one machine: what a worker or a client costs is taken from the server. A peer's worker takes jobs in larger portions than
// anybody would have whose calls cost money, and so does Sluice's here. On a system other than Linux CPU and RSS are 0.
package main
