package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/sluicedev/sluice/pkg/key"
	"github.com/sluicedev/sluice/pkg/queue"
)

// authenticate is the middleware that lets pass only what the request's key may do. What each operation needs is said in
// openapi.yaml; what is not in there (a page, a path that leads nowhere) is open, as are the probes.
func (s *Server) authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		op, ok := s.contract.of(c)
		if s.keys == nil || !ok || op.scope == "" || needsNoKey(c.Request()) {
			return next(c)
		}
		text, err := bearer(c.Request().Header)
		if err != nil {
			return unauthorized(c, err)
		}
		who, err := s.verify(c.Request().Context(), text)
		if err != nil {
			return unauthorized(c, err)
		}
		if !s.rates.admit(c.Response().Header(), who.KeyID) {
			return rateLimited
		}
		if !who.May(op.scope) {
			return lacking(c, op.scope)
		}
		c.Set(holderKey, who)
		return s.whileGood(c, text, next)
	}
}

// verify takes no longer than a probe: nobody should wait for a database that does not answer.
func (s *Server) verify(ctx context.Context, text string) (key.Holder, error) {
	ctx, cancel := context.WithTimeout(ctx, s.limits.probe)
	defer cancel()
	return s.keys.Verify(ctx, text)
}

// scheme is matched in any case, as RFC 9110 has it.
const scheme = "Bearer "

var (
	errNoKey    = errors.New("send an API key, as Authorization: Bearer <key>")
	errTwice    = errors.New("the header Authorization must be sent once")
	errNoBearer = errors.New("the header Authorization must be Bearer, a space, and the key")
)

// bearer gives what a request shows as its key. Given twice, it is none: whoever is in between may have looked at the
// other one.
func bearer(h http.Header) (string, error) {
	values := h.Values(echo.HeaderAuthorization)
	switch {
	case len(values) == 0:
		return "", errNoKey
	case len(values) > 1:
		return "", errTwice
	case len(values[0]) < len(scheme) || !strings.EqualFold(values[0][:len(scheme)], scheme):
		return "", errNoBearer
	}
	return values[0][len(scheme):], nil
}

// unauthorized refuses a request for its key. Where nobody could look, the key is not to blame.
func unauthorized(c echo.Context, err error) error {
	if errors.Is(err, errNoKey) {
		return challenge(c, http.StatusUnauthorized, err.Error(), "")
	}
	if key.Refused(err) || errors.Is(err, errTwice) || errors.Is(err, errNoBearer) {
		return challenge(c, http.StatusUnauthorized, err.Error(), `, error="invalid_token"`)
	}
	return err
}

var insufficientScope = kind{"insufficient_scope", "The key may not do this"}

func lacking(c echo.Context, scope key.Scope) error {
	r := challenge(c, http.StatusForbidden, fmt.Sprintf("this needs a key with the scope %s", scope), fmt.Sprintf(`, error="insufficient_scope", scope="%s"`, scope))
	r.kind = insufficientScope
	return r
}

// challenge is a refusal that says how to do better (RFC 6750).
func challenge(c echo.Context, status int, detail, attributes string) *refusal {
	c.Response().Header().Set(echo.HeaderWWWAuthenticate, `Bearer realm="sluice"`+attributes)
	return &refusal{status: status, detail: detail}
}

// whileGood ends a request whose key ends before it: a stream of events may stay open for long. It comes before deadline,
// so that also what is freed of that ends.
func (s *Server) whileGood(c echo.Context, text string, next echo.HandlerFunc) error {
	ctx, end := context.WithCancelCause(c.Request().Context())
	defer end(nil)
	defer s.lookAgain(ctx, text, end).Stop()
	c.SetRequest(c.Request().WithContext(ctx))
	err := next(c)
	if over := context.Cause(ctx); err != nil && key.Refused(over) {
		return unauthorized(c, over)
	}
	return err
}

// lookAgain ends a request as soon as its key is known not to be good any more.
func (s *Server) lookAgain(ctx context.Context, text string, end context.CancelCauseFunc) *time.Timer {
	return time.AfterFunc(key.FreshFor, func() {
		if ctx.Err() != nil {
			return
		}
		if _, err := s.verify(ctx, text); key.Refused(err) {
			end(err)
			return
		}
		s.lookAgain(ctx, text, end)
	})
}

const holderKey = "holder"

// holder is whose key a request showed. False: none was asked for.
func holder(c echo.Context) (key.Holder, bool) {
	h, ok := c.Get(holderKey).(key.Holder)
	return h, ok
}

// tenantOf tells whose jobs a request sees.
func tenantOf(c echo.Context) string {
	if h, ok := holder(c); ok {
		return h.Tenant
	}
	return queue.DefaultTenant // without authentication there is one
}

// reach tells whose jobs a request may count where a number is of the fleet.
func (s *Server) reach(c echo.Context) string {
	if h, ok := holder(c); ok && !h.May(key.Admin) {
		return h.Tenant
	}
	return everybody
}

type keyless struct{}

// withoutKey marks requests as of a port that is the operator's alone.
func withoutKey(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), keyless{}, true)))
	})
}

func needsNoKey(r *http.Request) bool { return r.Context().Value(keyless{}) != nil }
