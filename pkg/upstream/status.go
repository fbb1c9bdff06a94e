package upstream

import (
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/quota"
)

// Status is what the fleet knows of an upstream, as of Now. Nil and "" mean that there is nothing to tell.
type Status struct {
	Name       string
	State      string // closed, open or half-open
	Reason     string // failures, account, credentials, configuration, operator; "" while closed
	Failures   int    // in a row
	OpenedAt   *time.Time
	RetryAt    *time.Time // the next probe
	ClosedAt   *time.Time
	LastOKAt   *time.Time // latest success that mattered enough to be reported
	Requests   Dimension
	Tokens     Dimension     // the tighter of the organisation's and the project's
	ObservedAt *time.Time    // when Requests and Tokens were true
	Tight      Tight         // what of it holds calls up
	Wait       time.Duration // until the quota lets a call of usual size start
	Pace       float64       // calls a second that may be expected to start then; 0: unknown, or nothing bounds it

	Now        time.Time // the database's time of reading
	Generation int64
	Cold       bool      // no living provider has answered yet: one call goes first
	Paced      bool      // calls need permits
	Told       bool      // what is left of the quota is told by every answer
	Admits     bool      // a probe may be made now, with any credential: see AdmitsWith
	Suspected  bool      // a refusal waits for a second job to confirm it
	ProbeJob   uuid.UUID // of the latest probe

	// Credentials go by their fingerprints: see Parked and AdmitsWith.
	LastOKBy      string   // what succeeded at LastOKAt; "": not known
	Refused       []string // credentials that the provider is known to refuse
	AdmitsUntried bool     // a probe may be made now with a known credential that is none of them

	quota quota.Quota
}

// Fits tells whether a call that is charged at least so many tokens can ever be sent, and if not, which limit is in the way.
func (s Status) Fits(tokens float64) (quota.Misfit, bool) { return s.quota.Fits(tokens, s.Now) }

// Dimension is a limit as the provider last told it.
type Dimension struct {
	Limit     *int64
	Remaining *int64
	ResetsAt  *time.Time    // when it is full again
	Window    time.Duration // in which it fills; 0: there is no limit
	Reserve   int64         // of it, what is left alone for surprises
}

// Tight is what holds calls up.
type Tight string

const (
	Loose      Tight = ""         // no limit does
	OnRequests Tight = "requests" // Status.Requests
	OnTokens   Tight = "tokens"   // Status.Tokens
	OnRefusals Tight = "refusals" // there is a limit that the provider does not tell
)

func tight(o quota.Outlook) Tight {
	switch {
	case o.Held && o.Tight == quota.Requests:
		return OnRequests
	case o.Held:
		return OnTokens
	case o.Untold:
		return OnRefusals
	}
	return Loose
}

// dimension is a limit as of the quota's time.
func dimension(q quota.Quota, d quota.Dimension) Dimension {
	limit, remaining, resetsAt := columns(q, d)
	return Dimension{limit, remaining, resetsAt, q.Limits[d].Window, int64(q.Reserve(d))}
}

// tokens is the limit of tokens that holds calls up, or where none does the one that has less left.
func tokens(q quota.Quota, o quota.Outlook) Dimension {
	if o.Held && o.Tight != quota.Requests {
		return dimension(q, o.Tight)
	}
	a, b := dimension(q, quota.Tokens), dimension(q, quota.ProjectTokens)
	if b.Remaining != nil && (a.Remaining == nil || *b.Remaining < *a.Remaining) {
		return b
	}
	return a
}

func (r row) status() Status {
	b, q := r.breaker(), r.Quota.Advance(r.Now)
	outlook := q.Outlook()
	return Status{
		Name: r.Name, State: r.State, Reason: value(r.Reason), Failures: r.Failures,
		OpenedAt: r.OpenedAt, RetryAt: r.RetryAt, ClosedAt: r.ClosedAt, LastOKAt: r.LastOKAt,
		Requests:   dimension(q, quota.Requests),
		Tokens:     tokens(q, outlook),
		ObservedAt: r.ObservedAt, Paced: q.Needed(r.Now), Told: q.Source == quota.Headers,
		Tight: tight(outlook), Wait: outlook.Wait, Pace: outlook.Pace,
		Now: r.Now, Generation: r.Generation, Cold: b.Cold(), Admits: b.Admits("", r.Now),
		Suspected: r.SuspectJob != nil, ProbeJob: b.ProbeJob,
		LastOKBy: b.LastOKBy, Refused: b.Refused, AdmitsUntried: b.AdmitsUntried(),
		quota: q,
	}
}

// withQuota gives the row with another quota in it, and in the columns that people read what it says.
func (r row) withQuota(q quota.Quota) row {
	if q == r.Quota.Quota {
		return r
	}
	r.Quota, r.QuotaSource, r.ObservedAt = kept(q), string(q.Source), null(q.At)
	r.RequestsLimit, r.RequestsRemaining, r.RequestsResetsAt = columns(q, quota.Requests)
	r.TokensLimit, r.TokensRemaining, r.TokensResetsAt = columns(q, quota.Tokens)
	r.ProjectTokensLimit, r.ProjectTokensRemaining, r.ProjectTokensResetsAt = columns(q, quota.ProjectTokens)
	return r
}

func columns(q quota.Quota, d quota.Dimension) (limit, remaining *int64, resetsAt *time.Time) {
	l := q.Limits[d]
	if !l.Known() {
		return nil, nil, nil
	}
	return new(int64(l.Limit)), new(int64(max(0, l.Level))), new(l.FullAt(q.At))
}
