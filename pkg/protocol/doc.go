// Package protocol is a model of how workers share jobs, an upstream and its quota, that a machine explores. It has no
// code, only tests: an explorer visits every state of a small instance (two workers, one or two jobs, one upstream,
// a rescuer, and so many crashes, freezes, cuts, outages, lost replies, cancels and retries as the test allows), breadth
// first, so that what it finds is told by a shortest story. It looks at three things: what must never be true of a state,
// what a step must never do, and whether from every state those steps alone that happen by themselves lead to where all is
// settled: if not, something may wait for ever.
//
// A step is one statement of SQL, or one critical section of a worker. The breaker and the quota are the real ones; the
// rest restates pkg/queue and pkg/worker, and has to follow them. Each property is shown to bite by a variant of the
// protocol that is broken, in which the explorer has to find what is wrong.
//
//	what holds                                     where the code keeps it                      broken variant that shows it
//	-------------------------------------------------------------------------------------------------------------------------
//	an end without the lease changes no job;       endSQL: j.lease = g.lease and j.worker = $1  completion by id and state alone,
//	  a job ends once, at most one attempt is ok                                                by the lease alone, by the worker alone
//	an attempt that is open at its job's own       cancelSQL: lease = j.lease + 1               a cancel that leaves the lease
//	  lease holds the job
//	a lease moves by one, with a claim or the      claimSQL, cancelSQL                          none: checked at each step
//	  cancel of a running job; done never changes
//	an attempt is charged once                     endSQL, rescueSQL                            none: checked at each step
//	who beats whenever it can is not buried        watch.go: the watch restarts after a gap     rescue by wall-clock, in an outage
//	no call starts on a lease that was taken away  life.fresh, attempt.mayStart                 a start without a fresh beat
//	every job ends                                 GiveBack                                     a claim whose reply was lost is forgotten
//	                                               claims.deadline_at, deadline_beat            a call that hangs for ever
//	one permit for a probe is in force             breaker.Grant, upstream_swap()               two probes
//	a call starts only while closed, or as the     line.admits                                  a probe that does not look again
//	  probe, from a tick after a change on         life.hasNews                                 a start on old news
//	an answer from before a change counts not      breaker.Report: r.Generation                 it counts
//	the generation never goes back                 pkg/breaker                                  none: checked at each step
//	calls are admitted again, in the end           Store.FreeLost, Probe.Until                  a prober that dies holds its permit for ever
//	a permit is its worker's, who knows of it      life.remember, life.tellProbes               a late grant is given back too soon
//	who is queued is claimed                       life.tick, lookForWork                       notifications alone
//	                                               claimLine: hot is taken back before it asks  a ring during a claim is forgotten
//	permits of the dead matter until the next      quota.Observe                                permits of the dead that never come back
//	  answer, and no longer
//
// The worker's half of the fence and the lease's are not two ways of saying one thing: rescue leaves the lease as it is, so
// the lease alone lets the dead end a job that is queued again; and a worker that claims a job a second time is the same
// worker, so it alone lets an end of its first try end the second.
//
// Not modelled: credentials and their suspicions; max_wait and expiry; the share of slots; batches of ends; delays and
// backoff, but as a state; clocks that step (each tick is a second for all); a freeze between the last look and the first byte
// of a call, which nothing can help; two rescuers at a time; a failover that loses what was committed.
package protocol
