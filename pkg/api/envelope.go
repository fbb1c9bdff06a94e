package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"regexp"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/sluicedev/sluice/pkg/strictjson"
)

// payloadField is the one member of an envelope that is never decoded: its bytes are passed on.
const payloadField = "payload"

// readJob checks one job of a request and takes it apart. The faults' fields are within the envelope.
func readJob(schema *openapi3.Schema, raw []byte) (BatchJob, []FieldError) {
	members, faults := envelope(schema, raw)
	if len(faults) > 0 {
		return BatchJob{}, faults
	}
	var job BatchJob
	if err := json.Unmarshal(raw, &job); err != nil {
		var mismatch *json.UnmarshalTypeError
		if errors.As(err, &mismatch) { // 5.0 is an integer to a schema, and not to Go
			return BatchJob{}, []FieldError{{mismatch.Field, "must be an integer, written without a fraction or an exponent"}}
		}
		return BatchJob{}, []FieldError{{"", "must be valid JSON"}}
	}
	job.Payload = members[payloadField]
	return job, job.faults()
}

// envelope checks a job against its schema and gives its members as they were sent.
func envelope(schema *openapi3.Schema, raw []byte) (map[string]json.RawMessage, []FieldError) {
	if err := strictjson.Check(raw, strictjson.Rules{Unique: []string{""}}); err != nil {
		return nil, jsonFaults(err)
	}
	list, err := strictjson.Members(raw)
	if err != nil {
		return nil, jsonFaults(err)
	}
	var faults []FieldError
	members := map[string]json.RawMessage{}
	values := map[string]any{}
	for _, m := range list {
		if _, known := schema.Properties[m.Name]; !known {
			faults = append(faults, FieldError{cmp.Or(m.Name, `""`), "is not a field of this request"})
			continue
		}
		members[m.Name] = m.Value
		if m.Name == payloadField && m.Value[0] == '{' {
			values[m.Name] = map[string]any{}
		} else {
			values[m.Name] = decoded(m.Value)
		}
	}
	err = schema.VisitJSON(values, openapi3.MultiErrors(), openapi3.WithStringFormatValidator("date-time", rfc3339{}))
	return members, append(faults, explain(err)...)
}

func decoded(raw json.RawMessage) (v any) {
	_ = json.Unmarshal(raw, &v) // it was checked
	return v
}

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
