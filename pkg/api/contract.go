package api

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/labstack/echo/v4"

	"github.com/sluicedev/sluice/pkg/key"
)

//go:embed openapi.yaml
var openapiYAML []byte

// contract is openapi.yaml, as requests are checked against it.
type contract struct {
	operations    map[string]operation // by method and Echo's route
	single, batch *openapi3.Schema     // envelopes of a job
}

type operation struct {
	params     openapi3.Parameters
	mediaTypes []string  // of the body
	scope      key.Scope // that a key needs; "": none is asked for
}

func loadContract() (*contract, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openapiYAML)
	if err != nil {
		return nil, fmt.Errorf("read openapi.yaml: %w", err)
	}
	k := &contract{
		operations: map[string]operation{},
		single:     doc.Components.Schemas["EnqueueRequest"].Value,
		batch:      doc.Components.Schemas["BatchJob"].Value,
	}
	route := strings.NewReplacer("{", ":", "}", "")
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			scope, err := scopeOf(doc, op)
			if err != nil {
				return nil, fmt.Errorf("openapi.yaml: %s %s: %w", method, path, err)
			}
			k.operations[method+" "+route.Replace(path)] = operation{
				params:     slices.Concat(item.Parameters, op.Parameters),
				mediaTypes: mediaTypes(op),
				scope:      scope,
			}
		}
	}
	return k, nil
}

// scopeOf reads which scope an operation needs. One that says nothing needs what the document says for all.
func scopeOf(doc *openapi3.T, op *openapi3.Operation) (key.Scope, error) {
	wanted := doc.Security
	if op.Security != nil {
		wanted = *op.Security
	}
	if op.Security != nil && len(wanted) == 0 {
		return "", nil
	}
	if len(wanted) != 1 || len(wanted[0]["key"]) != 1 {
		return "", errors.New("security must be one scope of a key")
	}
	scope := key.Scope(wanted[0]["key"][0])
	if !slices.Contains(key.Scopes, scope) {
		return "", fmt.Errorf("%s is no scope", scope)
	}
	return scope, nil
}

// of gives the operation that a request asks for. False: none of openapi.yaml.
func (k *contract) of(c echo.Context) (operation, bool) {
	op, ok := k.operations[c.Request().Method+" "+c.Path()]
	return op, ok
}

// mediaTypes are the types of body that an operation takes. One without a body of its own lets JSON pass: many clients
// send an empty object with every POST.
func mediaTypes(op *openapi3.Operation) []string {
	if op.RequestBody == nil {
		return []string{echo.MIMEApplicationJSON}
	}
	return slices.Sorted(maps.Keys(op.RequestBody.Value.Content))
}

// check is the middleware that refuses what the contract does not allow, but for bodies, which their handlers read.
func (k *contract) check(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		op, ok := k.of(c)
		if !ok {
			return next(c)
		}
		if err := op.checkMediaType(c.Request()); err != nil {
			return err
		}
		query, err := url.ParseQuery(c.Request().URL.RawQuery)
		if err != nil {
			return invalid(FieldError{"query", "must be percent-encoded"})
		}
		if faults := op.checkParams(c, query); len(faults) > 0 {
			return invalid(faults...)
		}
		return next(c)
	}
}

// checkMediaType refuses a body of another type than the operation's. No body needs no type.
func (op operation) checkMediaType(r *http.Request) error {
	if r.ContentLength == 0 {
		return nil
	}
	if coding := r.Header.Get(echo.HeaderContentEncoding); coding != "" && coding != "identity" {
		return &refusal{status: http.StatusUnsupportedMediaType, detail: "Content-Encoding: the body must not be compressed"}
	}
	// Given twice, it is of no type: whoever is in between may have looked at the other one.
	mediaType, params, err := mime.ParseMediaType(strings.Join(r.Header.Values(echo.HeaderContentType), ", "))
	charset := params["charset"]
	if err != nil || !slices.Contains(op.mediaTypes, mediaType) || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return &refusal{status: http.StatusUnsupportedMediaType,
			detail: "Content-Type: must be " + strings.Join(op.mediaTypes, " or ") + ", in UTF-8"}
	}
	return nil
}

// checkParams checks what path, query and headers say. The generated code then only has to parse it.
func (op operation) checkParams(c echo.Context, query url.Values) []FieldError {
	var faults []FieldError
	unknown := maps.Clone(query)
	for _, ref := range op.params {
		p := ref.Value
		if p.In == openapi3.ParameterInQuery {
			delete(unknown, p.Name)
		}
		if message := checkParam(p, paramValues(c, p, query)); message != "" {
			faults = append(faults, FieldError{p.Name, message})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		faults = append(faults, FieldError{cmp.Or(strings.ToValidUTF8(name, "\uFFFD"), `""`), "is not a parameter of this request"})
	}
	return faults
}

func paramValues(c echo.Context, p *openapi3.Parameter, query url.Values) []string {
	switch p.In {
	case openapi3.ParameterInQuery:
		return query[p.Name]
	case openapi3.ParameterInHeader:
		return c.Request().Header.Values(p.Name)
	}
	value := c.Param(p.Name)
	if c.Request().URL.RawPath == "" { // Echo matched the decoded path
		return []string{value}
	}
	decoded, err := url.PathUnescape(value)
	if err != nil {
		return []string{value}
	}
	return []string{decoded}
}

// checkParam says in words what is wrong with a parameter; "": nothing.
func checkParam(p *openapi3.Parameter, values []string) string {
	if len(values) == 0 {
		return "" // every path parameter is there, or the route would not have matched; the others are optional
	}
	if len(values) > 1 {
		return "must not be given twice"
	}
	value := values[0]
	if value == "" && p.AllowEmptyValue {
		return ""
	}
	// PostgreSQL takes neither as text.
	if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
		return "must be valid UTF-8 without NUL"
	}
	schema := p.Schema.Value
	var typed any = value
	if schema.Type.Is(openapi3.TypeInteger) {
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil {
			return bounds(schema)
		}
		typed = float64(n)
	}
	for _, f := range explain(schema.VisitJSON(typed, openapi3.MultiErrors())) {
		return f.Message
	}
	return ""
}

// explain turns what the validator found into fields and plain words.
func explain(err error) []FieldError {
	var all openapi3.MultiError
	var one *openapi3.SchemaError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &all):
		var faults []FieldError
		for _, e := range all {
			faults = append(faults, explain(e)...)
		}
		return slices.Compact(faults) // a number past int64 is also past its maximum
	case errors.As(err, &one):
		return []FieldError{{strings.Join(one.JSONPointer(), "."), words(one)}}
	}
	return []FieldError{{"", "is not valid"}}
}

func words(e *openapi3.SchemaError) string {
	s := e.Schema
	switch e.SchemaField {
	case "required":
		return "is required"
	case "nullable":
		return "must not be null: leave it out instead"
	case "type":
		return "must be " + article(strings.Join(s.Type.Slice(), " or "))
	case "enum":
		return "must be one of " + strings.Trim(fmt.Sprint(s.Enum), "[]")
	case "minimum", "maximum":
		return bounds(s)
	case "minLength", "maxLength":
		return length(s)
	}
	switch s.Format {
	case "int64":
		return bounds(s)
	case "uuid":
		return "must be a UUID"
	case "date-time":
		return "must be a time as in RFC 3339, such as 2026-01-31T12:00:00Z"
	}
	return e.Reason
}

func article(noun string) string {
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}

func bounds(s *openapi3.Schema) string {
	if s.Min == nil || s.Max == nil {
		return "must be an integer"
	}
	return fmt.Sprintf("must be an integer from %.0f to %.0f", *s.Min, *s.Max)
}

func length(s *openapi3.Schema) string {
	if s.MaxLength == nil {
		return "must not be empty"
	}
	return fmt.Sprintf("must have %d to %d characters", s.MinLength, *s.MaxLength)
}
