package upstream

import (
	"time"

	"github.com/google/uuid"
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
	Tokens     Dimension
	ObservedAt *time.Time // when Requests and Tokens were true

	Now        time.Time // the database's time of reading
	Generation int64
	Cold       bool      // no living provider has answered yet: one call goes first
	Admits     bool      // a probe may be made now
	Suspected  bool      // a refusal waits for a second job to confirm it
	ProbeJob   uuid.UUID // of the latest probe
}

// Dimension is a limit as the provider last told it.
type Dimension struct {
	Limit     *int64
	Remaining *int64
	ResetsAt  *time.Time // when it is full again
}

func (r row) status() Status {
	b := r.breaker()
	return Status{
		Name: r.Name, State: r.State, Reason: value(r.Reason), Failures: r.Failures,
		OpenedAt: r.OpenedAt, RetryAt: r.RetryAt, ClosedAt: r.ClosedAt, LastOKAt: r.LastOKAt,
		Requests:   Dimension{r.RequestsLimit, r.RequestsRemaining, r.RequestsResetsAt},
		Tokens:     Dimension{r.TokensLimit, r.TokensRemaining, r.TokensResetsAt},
		ObservedAt: r.ObservedAt,
		Now:        r.Now, Generation: r.Generation, Cold: b.Cold(), Admits: b.Admits(r.Now),
		Suspected: r.SuspectJob != nil, ProbeJob: b.ProbeJob,
	}
}

// Observation is what an answer's headers said of the quota.
type Observation struct {
	Age              time.Duration // since then, on the observer's monotonic clock: workers' wall clocks count for nothing
	Requests, Tokens Reading
}

// Reading is one dimension of an Observation.
type Reading struct {
	Known            bool
	Limit, Remaining int64
	Reset            time.Duration // until it is full again
}

// observe keeps an observation, unless a newer one is there.
func (r row) observe(o *Observation) row {
	if o == nil {
		return r
	}
	at := r.Now.Add(-max(0, o.Age))
	if r.ObservedAt != nil && !r.ObservedAt.Before(at) && !r.ObservedAt.After(r.Now) {
		return r
	}
	r.ObservedAt = &at
	r.RequestsLimit, r.RequestsRemaining, r.RequestsResetsAt = o.Requests.columns(at)
	r.TokensLimit, r.TokensRemaining, r.TokensResetsAt = o.Tokens.columns(at)
	return r
}

func (d Reading) columns(at time.Time) (limit, remaining *int64, resetsAt *time.Time) {
	if !d.Known {
		return nil, nil, nil
	}
	return &d.Limit, &d.Remaining, new(at.Add(max(0, d.Reset)))
}
