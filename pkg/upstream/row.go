package upstream

import (
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/breaker"
	"github.com/sluicedev/sluice/pkg/quota"
)

// row is a row of upstreams. The tags name its columns: `db` where it is read, `json` where it is swapped in.
type row struct {
	Name          string      `db:"name" json:"name"`
	State         string      `db:"state" json:"state"`
	Reason        *string     `db:"reason" json:"reason"`
	Failures      int         `db:"failures" json:"failures"`
	OpenedAt      *time.Time  `db:"opened_at" json:"opened_at"`
	RetryAt       *time.Time  `db:"retry_at" json:"retry_at"`
	ClosedAt      *time.Time  `db:"closed_at" json:"closed_at"`
	HeardAt       *time.Time  `db:"heard_at" json:"heard_at"`
	LastOKAt      *time.Time  `db:"last_ok_at" json:"last_ok_at"`
	Generation    int64       `db:"generation" json:"generation"`
	Version       int64       `db:"version" json:"-"`
	OpenMS        int64       `db:"open_ms" json:"open_ms"`
	FailingJobs   []uuid.UUID `db:"failing_jobs" json:"failing_jobs"`
	WindowAt      *time.Time  `db:"window_at" json:"window_at"`
	WindowOK      []int32     `db:"window_ok" json:"window_ok"`
	WindowBad     []int32     `db:"window_bad" json:"window_bad"`
	ProbeID       *uuid.UUID  `db:"probe_id" json:"probe_id"`
	ProbeWorker   *string     `db:"probe_worker" json:"probe_worker"`
	ProbeUntil    *time.Time  `db:"probe_until" json:"probe_until"`
	ProbeJob      *uuid.UUID  `db:"probe_job" json:"probe_job"`
	SuspectJob    *uuid.UUID  `db:"suspect_job" json:"suspect_job"`
	SuspectReason *string     `db:"suspect_reason" json:"suspect_reason"`
	SuspectAt     *time.Time  `db:"suspect_at" json:"suspect_at"`
	SuspectCred   *string     `db:"suspect_credential" json:"suspect_credential"`
	LastOKBy      *string     `db:"last_ok_by" json:"last_ok_by"`
	Refused       []string    `db:"refused" json:"refused"`

	Quota                  keptQuota  `db:"quota" json:"quota"`
	QuotaSource            string     `db:"quota_source" json:"quota_source"`
	RequestsLimit          *int64     `db:"requests_limit" json:"requests_limit"`
	RequestsRemaining      *int64     `db:"requests_remaining" json:"requests_remaining"`
	RequestsResetsAt       *time.Time `db:"requests_resets_at" json:"requests_resets_at"`
	TokensLimit            *int64     `db:"tokens_limit" json:"tokens_limit"`
	TokensRemaining        *int64     `db:"tokens_remaining" json:"tokens_remaining"`
	TokensResetsAt         *time.Time `db:"tokens_resets_at" json:"tokens_resets_at"`
	ProjectTokensLimit     *int64     `db:"project_tokens_limit" json:"project_tokens_limit"`
	ProjectTokensRemaining *int64     `db:"project_tokens_remaining" json:"project_tokens_remaining"`
	ProjectTokensResetsAt  *time.Time `db:"project_tokens_resets_at" json:"project_tokens_resets_at"`
	ObservedAt             *time.Time `db:"observed_at" json:"observed_at"`

	Now time.Time `db:"now" json:"-"` // the database's, when the row was read
}

// keptQuota is a quota, and what runnable_backlog() reads beside it.
type keptQuota struct {
	quota.Quota
	Next next `json:"next,omitzero"`
}

// next is how many calls of usual size the quota will let start. The zero value: any number, now.
type next struct {
	At   time.Time `json:"at"`            // of the first one
	Room int       `json:"room"`          // at that moment
	Pace float64   `json:"pace,omitzero"` // a second, from then on
}

func kept(q quota.Quota) keptQuota {
	if !q.Needed(q.At) {
		return keptQuota{Quota: q}
	}
	o := q.Outlook()
	return keptQuota{q, next{At: q.At.Add(o.Wait), Room: max(1, o.Room), Pace: o.Pace}}
}

const rowColumns = `name, state, reason, failures, opened_at, retry_at, closed_at, heard_at, last_ok_at, generation, version, open_ms,
    failing_jobs, window_at, window_ok, window_bad, probe_id, probe_worker, probe_until, probe_job,
    suspect_job, suspect_reason, suspect_at, suspect_credential, last_ok_by, refused, quota, quota_source, requests_limit, requests_remaining, requests_resets_at,
    tokens_limit, tokens_remaining, tokens_resets_at,
    project_tokens_limit, project_tokens_remaining, project_tokens_resets_at, observed_at, clock_timestamp() as now`

func (r row) breaker() breaker.Breaker {
	return breaker.Breaker{
		State: breaker.State(r.State), Reason: breaker.Reason(value(r.Reason)), Failures: r.Failures, FailingJobs: r.FailingJobs,
		OpenedAt: value(r.OpenedAt), RetryAt: value(r.RetryAt), ClosedAt: value(r.ClosedAt), HeardAt: value(r.HeardAt),
		LastOKAt: value(r.LastOKAt), OpenFor: time.Duration(r.OpenMS) * time.Millisecond, Generation: r.Generation,
		WindowAt: value(r.WindowAt), WindowOK: r.WindowOK, WindowBad: r.WindowBad,
		Probe:    breaker.Probe{ID: value(r.ProbeID), Worker: value(r.ProbeWorker), Until: value(r.ProbeUntil)},
		ProbeJob: value(r.ProbeJob),
		Suspect: breaker.Suspect{Job: value(r.SuspectJob), Reason: breaker.Reason(value(r.SuspectReason)),
			Credential: value(r.SuspectCred), At: value(r.SuspectAt)},
		LastOKBy: value(r.LastOKBy), Refused: r.Refused,
	}
}

// with gives the row with another breaker in it.
func (r row) with(b breaker.Breaker) row {
	r.State, r.Reason, r.Failures, r.FailingJobs = string(b.State), null(string(b.Reason)), b.Failures, list(b.FailingJobs)
	r.OpenedAt, r.RetryAt, r.ClosedAt = null(b.OpenedAt), null(b.RetryAt), null(b.ClosedAt)
	r.HeardAt, r.LastOKAt = null(b.HeardAt), null(b.LastOKAt)
	r.Generation, r.OpenMS = b.Generation, b.OpenFor.Milliseconds()
	r.WindowAt, r.WindowOK, r.WindowBad = null(b.WindowAt), list(b.WindowOK), list(b.WindowBad)
	r.ProbeID, r.ProbeWorker, r.ProbeUntil = null(b.Probe.ID), null(b.Probe.Worker), null(b.Probe.Until)
	r.ProbeJob = null(b.ProbeJob)
	r.SuspectJob, r.SuspectReason, r.SuspectAt = null(b.Suspect.Job), null(string(b.Suspect.Reason)), null(b.Suspect.At)
	r.SuspectCred, r.LastOKBy, r.Refused = null(b.Suspect.Credential), null(b.LastOKBy), list(b.Refused)
	return r
}

// moved tells whether the way to another row is to be told and audited: a change of state, of its reason, or of the time
// at which an open breaker lets somebody probe, as Resume brings.
func (r row) moved(next row) bool {
	return r.State != next.State || value(r.Reason) != value(next.Reason) ||
		r.State == string(breaker.Open) && !value(next.RetryAt).Equal(value(r.RetryAt))
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func null[T comparable](v T) *T {
	if v == *new(T) {
		return nil
	}
	return &v
}

// list is never null in JSON: the columns are not nullable.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}
