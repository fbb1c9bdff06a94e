package webhook

import (
	"encoding/json"
	"fmt"
	"time"
)

// maxResult is the largest result, in bytes as it is stored, of which a delivery tells.
const maxResult = 256 << 10

// jobData is a job as a delivery tells it: the API's JobEvent without `waiting`. Result is spliced in.
type jobData struct {
	ID             string          `json:"id"`
	Tenant         string          `json:"tenant"`
	Type           string          `json:"type"`
	State          string          `json:"state"`
	Priority       int             `json:"priority"`
	Attempts       int             `json:"attempts"`
	MaxAttempts    int             `json:"max_attempts"`
	Lease          int64           `json:"lease"`
	Worker         *string         `json:"worker"`
	Upstream       *string         `json:"upstream"`
	IdempotencyKey *string         `json:"idempotency_key"`
	CallbackURL    *string         `json:"callback_url"`
	ScheduledAt    *utc            `json:"scheduled_at"`
	ExpiresAt      *utc            `json:"expires_at"`
	DeadlineAt     *utc            `json:"deadline_at"`
	CreatedAt      utc             `json:"created_at"`
	UpdatedAt      utc             `json:"updated_at"`
	StartedAt      *utc            `json:"started_at"`
	FinishedAt     utc             `json:"finished_at"`
	HeldAt         *utc            `json:"held_at"`
	LastError      *string         `json:"last_error"`
	Result         json.RawMessage `json:"result"`
}

// utc is a time that is told in UTC, in whatever zone it was read.
type utc struct{ time.Time }

func (t utc) MarshalJSON() ([]byte, error) { return t.UTC().MarshalJSON() }

// body is what a delivery says: what happened to which job, and when.
func body(event string, job, result json.RawMessage) ([]byte, error) {
	var data jobData
	if err := json.Unmarshal(job, &data); err != nil {
		return nil, fmt.Errorf("the job as it was kept cannot be read: %w", err)
	}
	data.Result = result
	return json.Marshal(struct {
		Type      string  `json:"type"`
		Timestamp utc     `json:"timestamp"`
		Data      jobData `json:"data"`
	}{event, data.FinishedAt, data})
}
