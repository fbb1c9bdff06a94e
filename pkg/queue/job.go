package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/pg"
)

// Bounds of what one call moves. The bounds of a single job are jobtype's.
const (
	MaxBatch    = 10_000 // jobs in one Enqueue
	MaxPage     = 200    // jobs in one List
	DefaultPage = 50
	MaxKey      = 255    // characters of an idempotency key
	MaxCallback = 2048   // characters of a callback URL
	MaxPosition = 1000   // places in line that Position counts exactly
	MaxLook     = 20_000 // jobs that one List looks at

	// A longer one is left out: a trace is no reason to refuse a job.
	maxTraceparent = 128 // bytes

	glance    = 1000 // jobs that a List of waiting ones looks at before it asks who waits
	sweepSize = 1000 // rows that one statement of a sweep moves

	// A worker that ends a job at a time leaves thousands of deltas from one compaction to the next; each is a few bytes.
	compactSize = 100_000 // deltas of counts that one statement sums up
)

// State is where a job stands. Done, Failed and Cancelled are final: a job enters one of them once, and only Retry by hand
// takes a failed or cancelled one out again.
type State string

const (
	Queued    State = "queued"
	Delayed   State = "delayed"
	Running   State = "running"
	Done      State = "done"
	Failed    State = "failed"
	Cancelled State = "cancelled"
)

// Ended tells whether the state is final.
func (s State) Ended() bool { return s == Done || s == Failed || s == Cancelled }

// Outcome is what became of an attempt.
type Outcome string

const (
	OK            Outcome = "ok"
	RateLimited   Outcome = "rate_limited"
	Rejected      Outcome = "rejected"
	Held          Outcome = "held"
	Error         Outcome = "error"
	Lost          Outcome = "lost"
	Interrupted   Outcome = "interrupted"
	WasCancelled  Outcome = "cancelled"
	DefaultTenant         = "default"
)

// Job is a row of jobs. Nil means NULL. Times are the database's.
type Job struct {
	ID             uuid.UUID
	Tenant         string
	Type           string
	State          State
	Priority       int
	Payload        json.RawMessage // nil in a List
	Attempts       int             // charged tries
	MaxAttempts    int
	Lease          int64
	Worker         *string
	Upstream       *string
	IdempotencyKey *string
	CallbackURL    *string
	ScheduledAt    *time.Time
	ExpiresAt      *time.Time
	DeadlineAt     *time.Time
	CreatedAt      time.Time
	UpdatedAt      time.Time
	StartedAt      *time.Time
	FinishedAt     *time.Time
	HeldAt         *time.Time
	LastError      *string
	Result         json.RawMessage // nil in a List

	seq int64
}

// Line is who waits together with the job: its upstream, or its type where it is not paced.
func (j Job) Line() string {
	if j.Upstream != nil {
		return *j.Upstream
	}
	return j.Type
}

// Attempt is a row of attempts. Outcome is nil only while it runs.
type Attempt struct {
	JobID        uuid.UUID
	Number       int64
	Worker       string
	Upstream     *string
	Outcome      *Outcome
	Charged      bool
	Status       *int
	Error        *string
	RetryAfterMS *int64
	RequestID    *string
	InputTokens  *int64
	OutputTokens *int64
	StartedAt    time.Time
	FinishedAt   *time.Time
}

// ErrNotFound says that the tenant has no such job.
var ErrNotFound = errors.New("there is no such job")

// Conflict says that a job's state forbids what was asked for.
type Conflict struct {
	Verb  string
	State State
}

func (c *Conflict) Error() string {
	return fmt.Sprintf("a job that is %s cannot be %s", c.State, c.Verb)
}

// Invalid says which field of which job in an Enqueue is at fault.
type Invalid struct {
	Index   int // of the job in the call
	Field   string
	Message string
}

func (e *Invalid) Error() string { return e.Field + ": " + e.Message }

// KeyReused says that an idempotency key was used before with another request.
type KeyReused struct{ Index int }

func (e *KeyReused) Error() string {
	return "idempotency_key: was used before with another request"
}

// Queue is the queue in one database. It has no state of its own and is safe for use by many goroutines.
type Queue struct {
	db    pg.DB
	types jobtype.Set
}

// New gives the queue in db, whose jobs are of the given types.
func New(db pg.DB, types jobtype.Set) *Queue { return &Queue{db: db, types: types} }

// With gives the same queue inside a transaction.
func (q *Queue) With(tx pg.DB) *Queue { return &Queue{db: tx, types: q.types} }
