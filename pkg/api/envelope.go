package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/sluicedev/sluice/pkg/strictjson"
)

// payloadField is the one member of an envelope that is never decoded: its bytes are passed on.
const payloadField = "payload"

// readJob checks one job of a request and takes it apart. The faults' fields are within the envelope. What is inside the
// payload is the queue's to judge.
func readJob(schema *openapi3.Schema, raw []byte) (BatchJob, []FieldError) {
	members, err := strictjson.Members(raw)
	if err == nil {
		err = strictjson.Unique("", members)
	}
	if err != nil {
		return BatchJob{}, jsonFaults(err)
	}
	if faults := envelopeFaults(schema, members); len(faults) > 0 {
		return BatchJob{}, faults
	}
	job, err := assemble(members)
	if err != nil { // 5.0 is an integer to a schema, and not to Go
		return BatchJob{}, []FieldError{{err.Error(), "must be an integer, written without a fraction or an exponent"}}
	}
	return job, job.faults()
}

// envelopeFaults checks a job's members against its schema.
func envelopeFaults(schema *openapi3.Schema, members []strictjson.Member) []FieldError {
	var faults []FieldError
	for _, m := range members {
		faults = append(faults, memberFaults(schema.Properties[m.Name], m)...)
	}
	for _, name := range schema.Required {
		if !slices.ContainsFunc(members, func(m strictjson.Member) bool { return m.Name == name }) {
			faults = append(faults, FieldError{name, "is required"})
		}
	}
	return faults
}

// memberFaults checks a member against the schema of the field that it names; nil: there is none. Of a payload it sees that it is an object.
func memberFaults(schema *openapi3.SchemaRef, m strictjson.Member) []FieldError {
	switch {
	case schema == nil:
		return []FieldError{{cmp.Or(m.Name, `""`), "is not a field of this request"}}
	case m.Name == payloadField && m.Value[0] == '{':
		return nil
	}
	if err := strictjson.Check(m.Value, strictjson.Rules{Root: m.Name}); err != nil {
		return jsonFaults(err)
	}
	faults := explain(schema.Value.VisitJSON(decoded(m), openapi3.MultiErrors(), openapi3.WithStringFormatValidator("date-time", rfc3339{})))
	for i := range faults {
		faults[i].Field = m.Name
	}
	return faults
}

// decoded is a member's value as the schema takes it.
func decoded(m strictjson.Member) (v any) {
	if text, ok := m.Text(); ok {
		return text
	}
	_ = json.Unmarshal(m.Value, &v) // it was checked
	return v
}

// assemble makes a job of members that the schema lets pass. An error is the name of one that Go does not take.
func assemble(members []strictjson.Member) (job BatchJob, err error) {
	for _, m := range members {
		var ok bool
		switch m.Name {
		case payloadField:
			job.Payload, ok = m.Value, true
		case "type":
			job.Type, ok = m.Text()
		case "priority":
			ok = read(m, &job.Priority)
		case "max_attempts":
			ok = read(m, &job.MaxAttempts)
		case "scheduled_at":
			ok = read(m, &job.ScheduledAt)
		case "delay_ms":
			ok = read(m, &job.DelayMs)
		case "callback_url":
			ok = read(m, &job.CallbackURL)
		case "idempotency_key":
			ok = read(m, &job.IdempotencyKey)
		}
		if !ok {
			return BatchJob{}, errors.New(m.Name)
		}
	}
	return job, nil
}

func read[T any](m strictjson.Member, into *T) bool { return json.Unmarshal(m.Value, into) == nil }

// faults are those that a schema cannot tell.
func (j BatchJob) faults() []FieldError {
	var faults []FieldError
	if j.ScheduledAt != nil && j.DelayMs != nil {
		faults = append(faults, FieldError{"delay_ms", "scheduled_at and delay_ms exclude each other"})
	}
	if j.CallbackURL != nil {
		if message := callbackFault(*j.CallbackURL); message != "" {
			faults = append(faults, FieldError{"callback_url", message})
		}
	}
	return faults
}

func jsonFaults(err error) []FieldError {
	var fault *strictjson.Error
	if errors.As(err, &fault) {
		return []FieldError{{fault.Field, fault.Message}}
	}
	return []FieldError{{"", "must be valid JSON"}}
}

// rfc3339 makes the schema's idea of a time ours: one that Go and PostgreSQL read alike and can write again.
type rfc3339 struct{}

// Go's own parser lets pass what RFC 3339 does not: hours of one digit, decimal commas, zones of a day and more.
var rfc3339Form = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

var errTime = errors.New("not a time as in RFC 3339")

func (rfc3339) Validate(s string) error {
	t, err := time.Parse(time.RFC3339, s)
	// What is before our era in UTC could be stored, but neither it nor a page with it could be shown ever after.
	if err != nil || !rfc3339Form.MatchString(s) || t.UTC().Year() < 1 {
		return errTime
	}
	return nil
}
