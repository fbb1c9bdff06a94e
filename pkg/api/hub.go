package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/queue"
)

// hub tells watchers what becomes of their jobs. However many watch, one goroutine reads all their jobs in one statement,
// a second after the last time, or sooner when somebody new watches or a notification says that jobs have changed. While
// nobody watches, it costs the database nothing. What happens between two looks is not seen.
type hub struct {
	news   func(ctx context.Context, known ...queue.Known) ([]queue.News, error)
	why    func(ctx context.Context, now queue.News, before *sighting) (*Waiting, error)
	listen func(ctx context.Context) // nudges until ctx ends
	log    *slog.Logger

	looking sync.Mutex // one look at a time
	failing bool       // the last one did; guarded by looking
	mu      sync.Mutex
	jobs    map[uuid.UUID]*watchedJob
	rung    chan struct{}
}

type watchedJob struct {
	latest   *sighting // nil until the first look
	err      error     // why that failed
	watchers map[*watcher]bool
}

func (j *watchedJob) nudge() {
	for w := range j.watchers {
		nudge(w.news)
	}
}

// sighting is a job as a look saw it. It is shared and never changes.
type sighting struct {
	queue.News
	waiting *Waiting
	event   event
}

// watcher is whoever wants to know what becomes of a job.
type watcher struct {
	hub    *hub
	tenant string
	id     uuid.UUID
	news   chan struct{} // look at latest
}

func newHub(s *Server, listenURL string) *hub {
	h := &hub{news: s.queue.News, why: s.whyWatched, log: s.log, jobs: map[uuid.UUID]*watchedJob{}, rung: make(chan struct{}, 1)}
	h.listen = func(ctx context.Context) { h.hear(ctx, listenURL) }
	return h
}

// watch has a job watched until leave. Whether the tenant has such a job the first look tells, with those of all others.
func (h *hub) watch(tenant string, id uuid.UUID) *watcher {
	w := &watcher{hub: h, tenant: tenant, id: id, news: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	job := h.jobs[id]
	if job == nil {
		job = &watchedJob{watchers: map[*watcher]bool{}}
		h.jobs[id] = job
	}
	job.watchers[w], job.err = true, nil
	if job.latest != nil {
		nudge(w.news)
	} else {
		h.nudge()
	}
	return w
}

func (w *watcher) leave() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	job := w.hub.jobs[w.id]
	delete(job.watchers, w)
	if len(job.watchers) == 0 {
		delete(w.hub.jobs, w.id)
	}
}

// latest is the job as it was seen last; nil: it was not yet.
func (w *watcher) latest() (*sighting, error) {
	w.hub.mu.Lock()
	seen, err := w.hub.jobs[w.id].latest, w.hub.jobs[w.id].err
	w.hub.mu.Unlock()
	if seen == nil {
		return nil, err
	}
	if seen.Gone || seen.Tenant != w.tenant {
		return nil, queue.ErrNotFound
	}
	return seen, nil
}

// first is latest, as soon as there is one.
func (w *watcher) first(ctx context.Context) (*sighting, error) {
	for {
		if seen, err := w.latest(); seen != nil || err != nil {
			return seen, err
		}
		select {
		case <-w.news:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// nudge says that there may be something new.
func (h *hub) nudge() { nudge(h.rung) }

// nudge wakes whoever waits on the channel, now or when it next does.
func nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (h *hub) watched() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.jobs) > 0
}

// run looks whenever somebody watches, until ctx ends.
func (h *hub) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.rung:
		}
		if h.watched() {
			h.attend(ctx)
		}
	}
}

// attend looks and listens until nobody has watched for a while.
func (h *hub) attend(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	var listening sync.WaitGroup
	listening.Go(func() { h.listen(ctx) })
	defer listening.Wait()
	defer stop()
	for last := time.Now(); ctx.Err() == nil; {
		begun, least := time.Now(), hubPause
		switch {
		case h.watched():
			last = begun
			if h.look(ctx) != nil {
				least = hubEvery
			}
		case begun.Sub(last) > hubLinger:
			return
		}
		least = min(max(least, hubRest*time.Since(begun)), hubEvery)
		h.rest(ctx, least, hubEvery-least)
	}
}

// rest waits for so long, and then for news for so much longer.
func (h *hub) rest(ctx context.Context, least, more time.Duration) {
	pause := time.NewTimer(least)
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return
	case <-pause.C:
	}
	pause.Reset(more)
	select {
	case <-ctx.Done():
	case <-pause.C:
	case <-h.rung:
	}
}

// look sees what has become of all watched jobs, and tells their watchers.
func (h *hub) look(ctx context.Context) error {
	h.looking.Lock()
	defer h.looking.Unlock()
	ctx, cancel := context.WithTimeout(ctx, hubLimit)
	defer cancel()
	err := h.see(ctx)
	if err != nil {
		h.fail(err)
	}
	if ctx.Err() == context.Canceled {
		return err // nobody waits for it any more
	}
	if failing := err != nil; failing != h.failing {
		h.failing = failing
		h.log.Warn("the look at watched jobs", "works", !failing, "error", err)
	}
	return err
}

// fail tells those who have not seen their jobs yet. The others can wait.
func (h *hub) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, job := range h.jobs {
		if job.latest == nil {
			job.err = err
			job.nudge()
		}
	}
}

func (h *hub) see(ctx context.Context) error {
	before := h.sightings()
	known := make([]queue.Known, 0, len(before))
	for id, seen := range before {
		k := queue.Known{ID: id}
		if seen != nil {
			k = seen.Known()
		}
		known = append(known, k)
	}
	news, err := h.news(ctx, known...)
	if err != nil {
		return err
	}
	for _, n := range news {
		if err := h.note(ctx, n, before[n.ID]); err != nil {
			return err
		}
		delete(before, n.ID)
	}
	for _, seen := range before { // the same state, but why it waits may be another
		if seen != nil && seen.waiting != nil {
			if err := h.note(ctx, seen.News, seen); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *hub) sightings() map[uuid.UUID]*sighting {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make(map[uuid.UUID]*sighting, len(h.jobs))
	for id, job := range h.jobs {
		all[id] = job.latest
	}
	return all
}

// note tells a job's watchers how it is now, if that is another way than before.
func (h *hub) note(ctx context.Context, n queue.News, before *sighting) error {
	waiting, err := h.why(ctx, n, before)
	if err != nil {
		return err
	}
	now := &sighting{News: n, waiting: waiting}
	now.event.id, now.event.last = now.sign(), n.State.Ended()
	if before != nil && before.event.id == now.event.id {
		return nil
	}
	if !n.Gone {
		data, err := encodeEvent(n.Job, waiting)
		if err != nil {
			return err
		}
		now.event.data = string(data)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if job := h.jobs[n.ID]; job != nil {
		job.latest = now
		job.nudge()
	}
	return nil
}

// sign gives what is seen an id that any process gives it: of the state, and of why it waits. What only passes with time,
// and what is estimated anew with each look, makes no other one.
func (s *sighting) sign() string {
	h := fnv.New64a()
	fmt.Fprint(h, s.Gone, s.State, s.Lease, s.UpdatedAt.UnixMicro())
	if w := s.waiting; w != nil {
		fmt.Fprint(h, w.Reason)
		if w.Position != nil {
			fmt.Fprint(h, "at", *w.Position)
		}
		if w.Until != nil && w.Reason != WaitingReasonRateLimit {
			fmt.Fprint(h, "until", w.Until.UnixMicro())
		}
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// encodeEvent writes a JobEvent, on one line.
func encodeEvent(job queue.Job, waiting *Waiting) ([]byte, error) {
	columns, err := encode(summary(job))
	if err != nil {
		return nil, err
	}
	reason, err := encode(waiting)
	if err != nil {
		return nil, err
	}
	result := bytes.NewBufferString("null")
	if job.Result != nil {
		result.Reset()
		if err := json.Compact(result, job.Result); err != nil {
			return nil, fmt.Errorf("a result to be told: %w", err)
		}
	}
	return slices.Concat(columns[:len(columns)-1], []byte(`,"result":`), result.Bytes(), []byte(`,"waiting":`), reason, []byte(`}`)), nil
}

// hear listens for notifications until ctx ends. Without any, polling sees the same.
func (h *hub) hear(ctx context.Context, url string) {
	if url == "" {
		return
	}
	err := pg.Listen(ctx, url, []string{queue.StateChannel}, func(string, string) { h.nudge() }, func(err error) {
		if err != nil && ctx.Err() == nil {
			h.log.Warn("notifications are lost for now; polling goes on", "error", err)
		}
		h.nudge()
	})
	if err != nil && ctx.Err() == nil {
		h.log.Warn("no notifications; polling goes on", "error", err)
	}
}

// whyWatched is waiting for a watched job: from what is read for all of them together.
func (s *Server) whyWatched(ctx context.Context, n queue.News, before *sighting) (*Waiting, error) {
	if n.Gone || n.State != queue.Queued && n.State != queue.Delayed {
		return nil, nil
	}
	fleet, err := s.fleet.get(ctx, everybody)
	if err != nil {
		return nil, err
	}
	about := circumstances{now: fleet.now(), upstream: fleet.find(n.Upstream)}
	if n.State == queue.Delayed {
		if n.LastOutcome != nil {
			about.last = &queue.Attempt{Outcome: n.LastOutcome, Status: n.LastStatus}
		}
		return whyWaiting(n.Job, about), nil
	}
	line, err := s.lineups.get(ctx, n.Line())
	if err != nil {
		return nil, err
	}
	stands, ok := line.find(n.ID, n.Tenant)
	if !ok && before != nil && before.Known() == n.Known() {
		return before.waiting, nil // it has just been claimed: the next look sees that
	}
	about.ahead, about.shared = stands.ahead, stands.others > 0
	about.served, err = s.served.get(ctx, task{n.Type, n.Line()})
	return whyWaiting(n.Job, about), err
}

// lineup is the front of a line: who has which place.
type lineup struct {
	stands map[uuid.UUID]stand
	all    int
	own    map[string]int // by tenant
}

// stand is where a job stands.
type stand struct{ ahead, others int } // others are those ahead that are other tenants'

func (s *Server) readLineup(ctx context.Context, line string) (*lineup, error) {
	front, err := s.queue.Front(ctx, line)
	return newLineup(front), err
}

func newLineup(front []queue.Standing) *lineup {
	l := &lineup{stands: make(map[uuid.UUID]stand, len(front)), own: map[string]int{}}
	for _, at := range front {
		l.stands[at.JobID] = stand{l.all, l.all - l.own[at.Tenant]}
		l.all++
		l.own[at.Tenant]++
	}
	return l
}

// find tells where a tenant's job stands. One that is not seen stands behind all who are; false: it may have left.
func (l *lineup) find(id uuid.UUID, tenant string) (stand, bool) {
	if at, ok := l.stands[id]; ok {
		return at, true
	}
	return stand{l.all, l.all - l.own[tenant]}, l.all >= queue.MaxPosition
}
