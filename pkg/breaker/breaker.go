package breaker

import (
	"slices"
	"time"

	"github.com/google/uuid"
)

// State of a breaker. Open admits nothing, and no permit is out; half-open admits the one probe.
type State string

const (
	Closed   State = "closed"
	Open     State = "open"
	HalfOpen State = "half-open"
)

// Reason says why a breaker is not closed.
type Reason string

const (
	Failures      Reason = "failures"      // the provider fails
	Account       Reason = "account"       // no credit, a spend limit: a person has to act
	Credentials   Reason = "credentials"   // the key is refused
	Configuration Reason = "configuration" // the configured model does not exist
	Operator      Reason = "operator"      // paused by hand
)

// Rules are the numbers that a breaker goes by.
type Rules struct {
	Run      int           // failures in a row that trip it,
	RunJobs  int           // of at least so many different jobs: one bad job never does
	Calls    int           // or: of at least so many calls within the window
	Share    float64       // this share failed
	OpenFor  time.Duration // the first time; doubles with each probe that fails
	MaxOpen  time.Duration // up to this
	HoldFor  time.Duration // between two probes of an account, credentials or configuration stop
	MaxRetry time.Duration // the longest Retry-After that is heeded in place of OpenFor
	Confirm  time.Duration // no success for so long, and a confirmed refusal of a credential is everybody's
	Relapse  time.Duration // tripping again so soon after it closed doubles the time, as a failed probe does
}

// DefaultRules are the published ones.
var DefaultRules = Rules{
	Run: 5, RunJobs: 3, Calls: 20, Share: 0.5,
	OpenFor: 20 * time.Second, MaxOpen: 5 * time.Minute, HoldFor: 2 * time.Minute, MaxRetry: time.Hour,
	Confirm: time.Minute, Relapse: 10 * time.Second,
}

// Jitter lengthens the time to stay open by up to this share of it, and never shortens it.
const Jitter = 0.10

// The window of the second rule: a ring of short buckets, so that the row it lives in stays small.
const (
	Buckets = 6
	Bucket  = 5 * time.Second
)

// Breaker is the state of one upstream's breaker. The zero value is closed and has not been heard from; use New.
type Breaker struct {
	State       State
	Reason      Reason      // "" while closed
	Failures    int         // in a row, over the whole fleet
	FailingJobs []uuid.UUID // distinct jobs of that run, at most Rules.RunJobs
	OpenedAt    time.Time
	RetryAt     time.Time // not before this is a probe admitted; zero: not until somebody resumes
	ClosedAt    time.Time
	HeardAt     time.Time     // first answer of a living provider; zero: cold
	LastOKAt    time.Time     // latest success that was reported,
	LastOKBy    string        // and its credential; "": not known
	OpenFor     time.Duration // how long it was last told to stay open
	Generation  int64
	WindowAt    time.Time // start of the newest bucket, the last of the two rings
	WindowOK    []int32
	WindowBad   []int32
	Probe       Probe
	ProbeJob    uuid.UUID // of the latest probe: the next one takes another job while there is one
	Suspect     Suspect
	Refused     []string // credentials that the provider is known to refuse, the latest last; at most MaxRefused
}

// Probe is the permit for the one call that may be made. It ends with its answer, its worker or its time.
type Probe struct {
	ID     uuid.UUID // uuid.Nil: none is out
	Worker string
	Until  time.Time
}

// Suspect is the first job whose credential or model was refused. A second, different one confirms it.
type Suspect struct {
	Job        uuid.UUID
	Reason     Reason
	Credential string    // that was refused; "": not known, or another reason
	At         time.Time // of the latest refusal that it stands for
}

// New is a breaker that is closed and cold.
func New() Breaker { return Breaker{State: Closed} }

// Cold tells whether no living provider has answered yet.
func (b Breaker) Cold() bool { return b.State == Closed && b.HeardAt.IsZero() }

// Report is what a worker saw since its last report, in one generation.
type Report struct {
	Generation int64
	Credential string // the worker's; "": not known
	OK, Failed int
	Trailing   int         // failures since the last success in it; all of Failed where there was none
	Jobs       []uuid.UUID // distinct jobs of the trailing failures
	RetryAfter time.Duration
}

// Report counts a worker's calls. A report without a success adds to the fleet's run of failures; one with a success
// replaces it by its own trailing run.
func (b Breaker) Report(r Report, rules Rules, now time.Time, rnd float64) Breaker {
	if r.OK > 0 {
		b = b.succeeded(r.Credential, rules, now)
	}
	if b.State != Closed || r.Generation != b.Generation {
		return b
	}
	if r.OK > 0 {
		b = b.accept(r.Credential).heard(now)
		b.Failures, b.FailingJobs = r.Trailing, nil
	} else {
		b.Failures += r.Failed
	}
	if b.Failures == 0 {
		b.FailingJobs = nil
	} else {
		b.FailingJobs = distinct(b.FailingJobs, r.Jobs, rules.RunJobs)
	}
	b = b.count(r.OK, r.Failed, now)
	if b.trips(rules, now) {
		return b.open(Failures, b.backoff(rules, now), r.RetryAfter, rules, now, rnd)
	}
	return b
}

func (b Breaker) trips(rules Rules, now time.Time) bool {
	if b.Failures >= rules.Run && len(b.FailingJobs) >= rules.RunJobs {
		return true
	}
	ok, bad := b.sums()
	return ok+bad >= rules.Calls && float64(bad) >= rules.Share*float64(ok+bad)
}

// backoff is how long to stay open now: longer if it closed only just.
func (b Breaker) backoff(rules Rules, now time.Time) time.Duration {
	if !b.ClosedAt.IsZero() && now.Sub(b.ClosedAt) < rules.Relapse {
		return b.doubled(rules)
	}
	return rules.OpenFor
}

func (b Breaker) doubled(rules Rules) time.Duration {
	return min(max(2*b.OpenFor, rules.OpenFor), rules.MaxOpen)
}

// Refused is a provider's refusal that is not the job's fault alone.
type Refused struct {
	Generation int64
	Reason     Reason // Account, Credentials or Configuration
	Credential string // the worker's; "": not known
	Job        uuid.UUID
}

// Refuse counts a refusal of a call that is not a probe. The account's stop opens at once. A refused credential or model
// opens when a second, different job confirms it and nothing succeeded in the last minute: one bad payload behind a
// firewall must not stop everybody. If it is another credential that succeeded, this one is refused alone.
func (b Breaker) Refuse(r Refused, rules Rules, now time.Time, rnd float64) Breaker {
	if b.State != Closed || r.Generation != b.Generation {
		return b
	}
	if r.Reason != Credentials {
		r.Credential = "" // it is not what was refused
	}
	quiet := b.LastOKAt.IsZero() || now.Sub(b.LastOKAt) >= rules.Confirm
	switch {
	case r.Reason == Account:
		return b.open(r.Reason, rules.HoldFor, 0, rules, now, rnd)
	case !b.confirmed(r) && !(quiet && b.lingers(r, rules, now)):
		return b.suspect(r, rules, now)
	case quiet:
		return b.makeRoom().refuse(r.Credential).open(r.Reason, rules.HoldFor, 0, rules, now, rnd)
	case !same(r.Credential, b.LastOKBy):
		return b.refuse(r.Credential)
	}
	return b
}

// confirmed tells whether a refusal is not the first of its kind, or not of one job alone.
func (b Breaker) confirmed(r Refused) bool {
	s := b.Suspect
	return b.refuses(r.Credential) || s.Reason == r.Reason && s.Job != r.Job && same(s.Credential, r.Credential)
}

// lingers tells whether another job was refused, with whatever credential, and nothing came of it in a minute.
func (b Breaker) lingers(r Refused, rules Rules, now time.Time) bool {
	return b.Suspect.Reason == r.Reason && b.Suspect.Job != r.Job && b.Suspect.old(rules, now)
}

func (s Suspect) old(rules Rules, now time.Time) bool { return now.Sub(s.At) >= rules.Confirm }

// suspect notes a refusal that nothing confirms yet. While a suspicion of one credential is young, another one's refusal
// does not take its place: two workers with two bad keys would else displace each other for ever.
func (b Breaker) suspect(r Refused, rules Rules, now time.Time) Breaker {
	s := b.Suspect
	switch {
	case s.Reason == r.Reason && same(s.Credential, r.Credential):
		b.Suspect.At = now // the same job again
	case s.Reason != r.Reason || s.old(rules, now):
		b.Suspect = Suspect{Job: r.Job, Reason: r.Reason, Credential: r.Credential, At: now}
	}
	return b
}

// Admits tells whether Grant would give a permit to a worker with this credential ("": not known).
func (b Breaker) Admits(credential string, now time.Time) bool {
	return b.admitsAny(now) || b.AdmitsUntried() && credential != "" && !b.refuses(credential)
}

func (b Breaker) admitsAny(now time.Time) bool {
	if b.probed(now) {
		return false
	}
	switch b.State {
	case Open:
		// Opened in the future, it was the clock that was set back: nobody can tell for how long it has been open.
		return !b.RetryAt.IsZero() && (!now.Before(b.RetryAt) || now.Before(b.OpenedAt))
	case HalfOpen:
		return true // the permit's time is over
	default:
		return b.Cold()
	}
}

// AdmitsUntried tells whether a worker may probe before RetryAt whose credential is known, and is not known to be
// refused. Where there are so many refused ones that one is forgotten for each that is noted, none may: they could take
// turns without end.
func (b Breaker) AdmitsUntried() bool {
	return b.State == Open && b.Reason == Credentials && len(b.Refused) < MaxRefused
}

func (b Breaker) probed(now time.Time) bool {
	return b.Probe.ID != uuid.Nil && now.Before(b.Probe.Until)
}

// Grant gives the permit for the next probe to a worker with this credential, until the given time at the latest. False:
// another one is out, or it is not time yet, or none is needed.
func (b Breaker) Grant(p Probe, credential string, now time.Time) (Breaker, bool) {
	if !b.Admits(credential, now) {
		return b, false
	}
	b.Probe = p
	if b.State == Open {
		b.State = HalfOpen
		b.Generation++
	}
	return b, true
}

// Took records which job the probe is made with. False: the permit is not in force any more.
func (b Breaker) Took(probe, job uuid.UUID) (Breaker, bool) {
	if b.Probe.ID != probe {
		return b, false
	}
	b.ProbeJob = job
	return b, true
}

// Answer is what a probe met.
type Answer struct {
	Probe      uuid.UUID
	Job        uuid.UUID
	Credential string // the worker's; "": not known
	Alive      bool   // the provider answered and lives: a success, a limit that refills, a request that it refused
	OK         bool   // it succeeded
	Reason     Reason // it refused for this reason; "" else
	RetryAfter time.Duration
}

// Answered ends a probe. An answer to a permit that is not in force any more changes nothing.
func (b Breaker) Answered(a Answer, rules Rules, now time.Time, rnd float64) Breaker {
	if b.Probe.ID != a.Probe || a.Probe == uuid.Nil {
		return b
	}
	cold := b.State == Closed
	b.Probe = Probe{}
	if a.OK {
		b = b.succeeded(a.Credential, rules, now)
	}
	if a.Alive {
		b = b.accept(a.Credential) // to be told a limit, too, takes a good key
	}
	switch {
	case a.Alive && cold:
		if a.OK {
			b.Failures, b.FailingJobs = 0, nil // of the cold calls before it
		}
		return b.heard(now)
	case a.Alive:
		return b.heard(now).close(now)
	case cold && a.Reason != "":
		return b.Refuse(Refused{Generation: b.Generation, Reason: a.Reason, Credential: a.Credential, Job: a.Job}, rules, now, rnd)
	case cold:
		// An ordinary failure: one bad answer must not stop a healthy upstream, and the next call goes alone again.
		return b.Report(Report{Generation: b.Generation, Failed: 1, Trailing: 1, Jobs: []uuid.UUID{a.Job},
			RetryAfter: a.RetryAfter}, rules, now, rnd)
	case a.Reason == Credentials:
		return b.refuse(a.Credential).open(a.Reason, rules.HoldFor, 0, rules, now, rnd)
	case a.Reason != "":
		return b.open(a.Reason, rules.HoldFor, 0, rules, now, rnd)
	}
	return b.open(Failures, b.doubled(rules), a.RetryAfter, rules, now, rnd)
}

// Free ends a probe that was not answered: its call was never made, was cancelled or interrupted, or its worker died.
// The next one may go at once.
func (b Breaker) Free(probe uuid.UUID, now time.Time) Breaker {
	if b.Probe.ID != probe || probe == uuid.Nil {
		return b
	}
	b.Probe = Probe{}
	if b.State == HalfOpen {
		b.State = Open
		b.RetryAt = now
		b.Generation++
	}
	return b
}

// Pause opens the breaker until somebody resumes it.
func (b Breaker) Pause(now time.Time) Breaker {
	if b.State == Open && b.Reason == Operator {
		return b
	}
	b = b.open(Operator, 0, 0, Rules{}, now, 0)
	b.RetryAt = time.Time{}
	return b
}

// Resume closes a breaker that was paused, and lets one that is open for another reason probe at once. Credentials that
// were refused count as put right.
func (b Breaker) Resume(now time.Time) Breaker {
	switch {
	case b.State == Open && b.Reason == Operator:
		b.Refused = nil
		return b.close(now)
	case b.State == Open:
		b.RetryAt = now
	case b.State == Closed:
		b.Refused = nil
	}
	return b
}

// Sane mends what a step of the database's clock may have broken: nothing is told to wait for longer than the longest
// time to stay open, and nothing that happened lies in the future.
func (b Breaker) Sane(rules Rules, now time.Time) Breaker {
	longest := max(rules.MaxOpen, rules.HoldFor, rules.MaxRetry)
	if limit := now.Add(longest + time.Duration(Jitter*float64(longest))); b.RetryAt.After(limit) {
		b.RetryAt = limit
	}
	b.LastOKAt, b.ClosedAt, b.Suspect.At = earliest(b.LastOKAt, now), earliest(b.ClosedAt, now), earliest(b.Suspect.At, now)
	if b.WindowAt.After(now) {
		b.WindowAt, b.WindowOK, b.WindowBad = time.Time{}, nil, nil
	}
	return b
}

func (b Breaker) open(reason Reason, length, retryAfter time.Duration, rules Rules, now time.Time, rnd float64) Breaker {
	b.State, b.Reason = Open, reason
	b.OpenedAt = now
	b.OpenFor = length
	wait := max(length, min(retryAfter, rules.MaxRetry))
	b.RetryAt = now.Add(wait + time.Duration(Jitter*rnd*float64(wait)))
	b.Generation++
	b.Probe = Probe{}
	b.Suspect = Suspect{}
	b.WindowAt, b.WindowOK, b.WindowBad = time.Time{}, nil, nil
	return b
}

func (b Breaker) close(now time.Time) Breaker {
	b.State, b.Reason = Closed, ""
	b.Failures, b.FailingJobs = 0, nil
	b.OpenedAt, b.RetryAt = time.Time{}, time.Time{}
	b.ClosedAt = now
	b.Generation++
	b.Probe = Probe{}
	return b
}

// succeeded notes that the credential and the model are good, whenever the call began. It clears no young suspicion of
// another credential: beside busy workers with a good key, a bad one would never be found out.
func (b Breaker) succeeded(credential string, rules Rules, now time.Time) Breaker {
	b.LastOKAt, b.LastOKBy = latest(b.LastOKAt, now), credential
	if same(b.Suspect.Credential, credential) || b.Suspect.old(rules, now) {
		b.Suspect = Suspect{}
	}
	return b
}

func (b Breaker) heard(now time.Time) Breaker {
	if b.HeardAt.IsZero() {
		b.HeardAt = now
	}
	return b
}

// count adds calls to the newest bucket of the window, which it moves up to now.
func (b Breaker) count(ok, bad int, now time.Time) Breaker {
	if ok+bad == 0 {
		return b
	}
	okRing, badRing := make([]int32, Buckets), make([]int32, Buckets)
	at := now.Truncate(Bucket)
	if shift := int(at.Sub(b.WindowAt) / Bucket); !b.WindowAt.IsZero() && shift < Buckets && len(b.WindowOK) == Buckets && len(b.WindowBad) == Buckets {
		shift = max(shift, 0)
		copy(okRing, b.WindowOK[shift:])
		copy(badRing, b.WindowBad[shift:])
	}
	okRing[Buckets-1] += int32(ok)
	badRing[Buckets-1] += int32(bad)
	b.WindowAt, b.WindowOK, b.WindowBad = latest(b.WindowAt, at), okRing, badRing
	return b
}

func (b Breaker) sums() (ok, bad int) {
	for _, n := range b.WindowOK {
		ok += int(n)
	}
	for _, n := range b.WindowBad {
		bad += int(n)
	}
	return ok, bad
}

// distinct adds jobs that are not there yet, up to limit.
func distinct(have, more []uuid.UUID, limit int) []uuid.UUID {
	have = slices.Clone(have)
	for _, job := range more {
		if len(have) < limit && !slices.Contains(have, job) {
			have = append(have, job)
		}
	}
	return have
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
