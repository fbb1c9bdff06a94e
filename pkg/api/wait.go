package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/sluicedev/sluice/pkg/queue"
)

const (
	preferHeader  = "Prefer"
	appliedHeader = "Preference-Applied"
)

// preferredWait is how long a client would like to wait for its job (RFC 7240), at most maxWait. False: it would not, or
// said so in a way that is not understood, which is ignored like any other preference.
func preferredWait(h http.Header) (time.Duration, bool) {
	for _, preference := range splitOutsideQuotes(strings.Join(h.Values(preferHeader), ","), ',') {
		name, value, _ := strings.Cut(splitOutsideQuotes(preference, ';')[0], "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		value = strings.TrimSpace(value)
		if quoted, err := strconv.Unquote(value); err == nil {
			value = quoted
		}
		if value == "" || strings.Trim(value, "0123456789") != "" {
			return 0, false // the first one of a name counts
		}
		seconds, err := strconv.Atoi(value)
		if most := int(maxWait / time.Second); err != nil || seconds > most {
			seconds = most
		}
		return time.Duration(seconds) * time.Second, true
	}
	return 0, false
}

// splitOutsideQuotes splits a header's value where the separator is not within a quoted string.
func splitOutsideQuotes(text string, separator byte) []string {
	var parts []string
	quoted, begin := false, 0
	for i := 0; i < len(text); i++ {
		switch {
		case quoted && text[i] == '\\':
			i++
		case text[i] == '"':
			quoted = !quoted
		case text[i] == separator && !quoted:
			parts, begin = append(parts, text[begin:i]), i+1
		}
	}
	return append(parts, text[begin:])
}

// onePrefer makes one header of several, which the RFC says are the same.
func onePrefer(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Request().Header
		if values := h.Values(preferHeader); len(values) > 1 {
			h.Set(preferHeader, strings.Join(values, ", "))
		}
		return next(c)
	}
}

// answerWithin answers with the job if it ends in time, else as if nobody had waited, but with its state as of now. The
// job is kept by now: nothing that happens while the client waits may fail the request.
func (s *Server) answerWithin(c echo.Context, jobType string, made queue.Enqueued, wait time.Duration) error {
	c.Response().Header().Set(appliedHeader, fmt.Sprintf("wait=%d", wait/time.Second))
	if body, ok := c.Request().Body.(*boundBody); ok {
		body.release()
	}
	seen := s.await(present(c), s.tenant(c), made, wait)
	if err := present(c).Err(); err != nil {
		return err
	}
	// Neither the time for the work nor that for the answer has begun yet.
	ctx, cancel := context.WithTimeout(present(c), s.limits.request)
	defer cancel()
	c.SetRequest(c.Request().WithContext(ctx))
	if err := http.NewResponseController(c.Response()).SetWriteDeadline(time.Now().Add(s.limits.request + s.ofStreams.write)); err != nil {
		return err
	}
	if made.State.Ended() || seen != nil && seen.State.Ended() {
		job, err := s.queue.Get(ctx, s.tenant(c), made.ID)
		if err == nil {
			markEnqueued(c, made)
			return s.answerJob(c, job, nil)
		}
		s.log.Warn("a job that was waited for could not be read", "request_id", requestID(c), "job_id", made.ID, "error", err)
	}
	if seen != nil {
		return s.answerAccepted(c, made, State(seen.State), seen.waiting)
	}
	return s.answerEnqueued(c, jobType, made)
}

// await waits until the job has ended, the time is over, the client leaves or this process stops, and gives the job as it
// was seen last; nil: it was not.
func (s *Server) await(gone context.Context, tenant string, made queue.Enqueued, wait time.Duration) (seen *sighting) {
	if made.State.Ended() || wait == 0 {
		return nil
	}
	w := s.hub.watch(tenant, made.ID)
	defer w.leave()
	over := time.NewTimer(wait)
	defer over.Stop()
	for {
		select {
		case <-gone.Done():
			return seen
		case <-s.ending:
			return seen
		case <-over.C:
			return seen
		case <-w.news:
		}
		now, err := w.latest()
		switch {
		case errors.Is(err, queue.ErrNotFound): // somebody deleted it
			return seen
		case err == nil && now != nil:
			if seen = now; seen.State.Ended() {
				return seen
			}
		}
	}
}
