package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/upstream"
)

// unsent is an error of a statement that never reached the server.
type unsent struct{ error }

func (unsent) SafeToRetry() bool { return true }

// What an error is to the client, however deep it lies. Only what is ours to mend is a 500.
func TestErrorsAsAnswers(t *testing.T) {
	t.Parallel()
	code := func(code string) error { return &pgconn.PgError{Code: code} }
	for name, c := range map[string]struct {
		err  error
		want int
	}{
		"the client left":          {context.Canceled, statusClientGone},
		"no job":                   {queue.ErrNotFound, http.StatusNotFound},
		"no upstream":              {upstream.ErrNotFound, http.StatusNotFound},
		"a job that kept changing": {queue.ErrMoved, http.StatusServiceUnavailable},
		"a state that forbids it":  {&queue.Conflict{}, http.StatusConflict},
		"too slow":                 {context.DeadlineExceeded, http.StatusServiceUnavailable},
		"no connection":            {&pgconn.ConnectError{}, http.StatusServiceUnavailable},
		"the network":              {&net.OpError{Err: errors.New("reset")}, http.StatusServiceUnavailable},
		"never sent":               {unsent{errors.New("busy")}, http.StatusServiceUnavailable},
		"the end":                  {io.EOF, http.StatusServiceUnavailable},
		"an end midway":            {io.ErrUnexpectedEOF, http.StatusServiceUnavailable},
		"closed":                   {net.ErrClosed, http.StatusServiceUnavailable},
		"a broken connection":      {code("08006"), http.StatusServiceUnavailable},
		"no more connections":      {code("53300"), http.StatusServiceUnavailable},
		"a shutdown":               {code("57P01"), http.StatusServiceUnavailable},
		"a statement's time-out":   {code("57014"), http.StatusServiceUnavailable},
		"a server that is demoted": {code("25006"), http.StatusServiceUnavailable},
		"a lock":                   {code("55P03"), http.StatusServiceUnavailable},
		"no table":                 {code("42P01"), http.StatusInternalServerError},
		"a constraint":             {code("23514"), http.StatusInternalServerError},
		"anything else":            {errors.New("oops"), http.StatusInternalServerError},
	} {
		if got := refuse(fmt.Errorf("deep: %w", c.err)).status; got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// However much is at fault, so much is told, and how much more there is.
func TestFaultsThatAreTold(t *testing.T) {
	t.Parallel()
	s := open(t)
	one := `{"type":"diary.entry","payload":{"input":"x"}`
	for i := range 3 * maxErrors {
		one += fmt.Sprintf(`,"<f%d>":1`, i)
	}
	one += "}"
	many := "[" + strings.Repeat(`{"type":"diary.entry"},`, 3*maxErrors) + plainJob + "]"
	for body, want := range map[string]string{one: fmt.Sprintf("(and %d more)", 3*maxErrors-1), many: fmt.Sprintf("(and %d more)", maxErrors-1)} {
		path := "/api/ai/enqueue"
		if body == many {
			path += "/batch"
		}
		a := s.do("POST", path, body)
		p := s.isProblem(a)
		if strings.Contains(string(a.body), `\u003c`) {
			t.Errorf("not meant to be read: %s", a.body)
		}
		if n := len(*p.Errors); n != maxErrors || !strings.Contains(p.Detail, want) {
			t.Errorf("%d are told: %s; want %s", n, p.Detail, want)
		}
	}
}

func TestNamesOfStrangersAreShortened(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		strings.Repeat("é", maxFieldName):   strings.Repeat("é", maxFieldName),
		strings.Repeat("é", maxFieldName+1): strings.Repeat("é", maxFieldName) + "…",
	} {
		if got := shorten(name); got != want {
			t.Errorf("%q", got)
		}
	}
}
