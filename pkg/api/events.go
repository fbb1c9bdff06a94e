package api

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/sluicedev/sluice/pkg/queue"
)

const eventStreamType = "text/event-stream"

// event is what a stream tells.
type event struct {
	id   string // of what is told, the same in every process
	data string // on one line
	last bool   // nothing comes after it
}

// streamLimits bound streams, and those who wait for a job that they have just enqueued.
type streamLimits struct {
	streams, waiters       int64
	heartbeat, write, life time.Duration
	status                 time.Duration // between two looks at the status
}

var ofStreams = streamLimits{
	streams: maxStreams, waiters: maxWaiters, heartbeat: heartbeat, write: eventTimeout, life: streamLife, status: watchAge,
}

// turnstile counts who is inside.
type turnstile struct{ inside atomic.Int64 }

// enter tells whether there is room for one more, who then has to leave.
func (t *turnstile) enter(most int64) bool {
	if t.inside.Add(1) <= most {
		return true
	}
	t.leave()
	return false
}

func (t *turnstile) leave() { t.inside.Add(-1) }

// GetJobEvents is GET /api/ai/jobs/{id}/events.
func (s *Server) GetJobEvents(c echo.Context, id JobID, params GetJobEventsParams) error {
	if err := s.admit(); err != nil {
		return err
	}
	defer s.streams.leave()
	w := s.hub.watch(s.tenant(c), id)
	defer w.leave()
	first, err := w.first(c.Request().Context())
	if err != nil {
		return err
	}
	return tell(s, c, "state", params.LastEventID, first.event, w.news, func(struct{}) (event, error) {
		seen, err := w.latest()
		if err != nil {
			return event{}, err
		}
		return seen.event, nil
	})
}

// GetStatusEvents is GET /api/ai/status/events.
func (s *Server) GetStatusEvents(c echo.Context, params GetStatusEventsParams) error {
	if err := s.admit(); err != nil {
		return err
	}
	defer s.streams.leave()
	tenant, reach := s.tenant(c), s.reach(c)
	look := func(ctx context.Context) (event, error) { return s.statusEvent(ctx, tenant, reach) }
	first, err := look(c.Request().Context())
	if err != nil {
		return err
	}
	told, stop := context.WithCancel(present(c))
	defer stop()
	return tell(s, c, "status", params.LastEventID, first, follow(told, s.ofStreams.status, look), func(now event) (event, error) { return now, nil })
}

// follow gives what each look sees, but for those that fail, until ctx ends. It looks aside from the stream, which goes on
// to show signs of life while the database does not answer, and ends when it has to.
func follow(ctx context.Context, every time.Duration, look func(context.Context) (event, error)) <-chan event {
	seen := make(chan event)
	go func() {
		again := time.NewTicker(every)
		defer again.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-again.C:
			}
			now, err := look(ctx)
			if err != nil {
				continue // the next one may succeed
			}
			select {
			case <-ctx.Done():
				return
			case seen <- now:
			}
		}
	}()
	return seen
}

// statusEvent is the status with an id that does not change by the passing of time alone.
func (s *Server) statusEvent(ctx context.Context, tenant, reach string) (event, error) {
	ctx, cancel := context.WithTimeout(ctx, s.limits.request)
	defer cancel()
	status, err := s.status(ctx, tenant, reach)
	if err != nil {
		return event{}, err
	}
	data, err := encode(status)
	if err != nil {
		return event{}, err
	}
	status.Now, status.Queue.OldestQueuedSeconds = time.Time{}, 0
	for i := range status.Upstreams {
		status.Upstreams[i].Quota.Requests.ResetsAt, status.Upstreams[i].Quota.Tokens.ResetsAt = nil, nil
	}
	lasting, err := encode(status)
	h := fnv.New64a()
	h.Write(lasting)
	return event{id: fmt.Sprintf("%016x", h.Sum64()), data: string(data)}, err
}

// admit lets one more stream in. It has to leave.
func (s *Server) admit() error {
	if s.stopping.Load() {
		return &refusal{status: http.StatusServiceUnavailable, detail: "this process is stopping; try again"}
	}
	if !s.streams.enter(s.ofStreams.streams) {
		return &refusal{status: http.StatusServiceUnavailable, detail: "this process has as many event streams open as it can; try again"}
	}
	return nil
}

// tell streams first, unless the client has seen it, and what becomes of all that is due, until the last event, until the
// client leaves or does not read, or until this process stops. Nothing was answered before it. next does not wait.
func tell[T any](s *Server, c echo.Context, name string, seen *string, first event, due <-chan T, next func(T) (event, error)) error {
	if first.last && seen != nil && *seen == first.id {
		return c.NoContent(http.StatusNoContent) // which tells a browser not to come back
	}
	out, err := s.openOutlet(c, name, seen)
	if err != nil || c.Request().Context().Value(askedHead{}) != nil {
		return err
	}
	beat, life := time.NewTicker(s.ofStreams.heartbeat), time.NewTimer(s.ofStreams.life)
	defer beat.Stop()
	defer life.Stop()
	gone := present(c)
	for now := first; ; {
		if err := out.tell(now); err != nil || now.last {
			return nil // whoever does not read is let go
		}
		select {
		case <-gone.Done():
			return nil
		case <-s.ending:
			_ = out.write(": this process stops, another one goes on\n" + comeBack()) // at best
			return nil
		case <-life.C:
			return nil
		case <-beat.C:
			if err := out.write(":\n\n"); err != nil {
				return nil
			}
		case news := <-due:
			then, err := next(news)
			switch {
			case errors.Is(err, queue.ErrNotFound):
				return nil // whoever comes back is told so
			case err == nil:
				now = then
			}
		}
	}
}

// outlet is where a stream is written to.
type outlet struct {
	to    http.ResponseWriter
	http  *http.ResponseController
	limit time.Duration // for each write: a reader that takes longer is let go
	name  string        // of events
	told  string        // the id of the last one
}

// openOutlet answers that a stream begins.
func (s *Server) openOutlet(c echo.Context, name string, seen *string) (*outlet, error) {
	to := c.Response().Writer // Echo's own would keep the errors of Flush to itself
	out := &outlet{to: to, http: http.NewResponseController(to), limit: s.ofStreams.write, name: name}
	if seen != nil {
		out.told = *seen
	}
	h := c.Response().Header()
	h.Set(echo.HeaderContentType, eventStreamType)
	h.Set(echo.HeaderCacheControl, "no-cache")
	h.Set("X-Accel-Buffering", "no")
	c.Response().WriteHeader(http.StatusOK)
	return out, out.write(comeBack())
}

// comeBack tells a client when to come back once the stream has ended: not all at the same moment.
func comeBack() string {
	return fmt.Sprintf("retry: %d\n\n", (minRetry + rand.N(minRetry)).Milliseconds())
}

// tell writes an event, unless it is the one that was told last.
func (o *outlet) tell(e event) error {
	if e.id == o.told {
		return nil
	}
	o.told = e.id
	return o.write("id: ", e.id, "\nevent: ", o.name, "\ndata: ", e.data, "\n\n")
}

// write sends pieces. They are not joined before: thousands may be about to read the same large one.
func (o *outlet) write(pieces ...string) error {
	if err := o.http.SetWriteDeadline(time.Now().Add(o.limit)); err != nil {
		return err
	}
	for _, piece := range pieces {
		if _, err := io.WriteString(o.to, piece); err != nil {
			return err
		}
	}
	return o.http.Flush()
}
