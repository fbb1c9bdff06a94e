package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/queue"
)

// looks is a hub on a database that only notes when it is looked at.
type looks struct {
	*hub
	took time.Duration // by each look
	err  error

	looked, given atomic.Int64 // times, and for the last one
	listening     atomic.Bool
}

func newLooks() *looks {
	l := &looks{}
	l.hub = &hub{
		news: func(ctx context.Context, known ...queue.Known) ([]queue.News, error) {
			deadline, _ := ctx.Deadline()
			l.given.Store(int64(time.Until(deadline)))
			l.looked.Add(1)
			time.Sleep(l.took) // by the bubble's clock, as in between
			if l.err != nil {
				return nil, l.err
			}
			news := make([]queue.News, len(known))
			for i, k := range known {
				news[i].ID, news[i].State, news[i].Tenant = k.ID, queue.Running, alice
			}
			return news, nil
		},
		why: func(context.Context, queue.News, *sighting) (*Waiting, error) { return nil, nil },
		listen: func(ctx context.Context) {
			l.listening.Store(true)
			<-ctx.Done()
			l.listening.Store(false)
		},
		log: slog.New(slog.DiscardHandler), jobs: map[uuid.UUID]*watchedJob{}, rung: make(chan struct{}, 1),
	}
	return l
}

// between are how many looks there are while so much time of the bubble passes, in which it is nudged all the time, or not at all.
func (l *looks) between(d time.Duration, nudged bool) int64 {
	synctest.Wait()
	before := l.looked.Load()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if nudged {
			l.nudge()
		}
	}
	synctest.Wait()
	return l.looked.Load() - before
}

// How often the hub looks, by the bubble's clock.
func TestHowOftenWatchedJobsAreLookedAt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*looks)
		nudged bool
		want   time.Duration // between two looks
	}{
		"no news":              {func(*looks) {}, false, hubEvery},
		"news all the time":    {func(*looks) {}, true, hubPause},
		"looks take long":      {func(l *looks) { l.took = 20 * time.Millisecond }, true, 20 * time.Millisecond * (hubRest + 1)},
		"looks take very long": {func(l *looks) { l.took = time.Second }, true, time.Second + hubEvery},
		"the database is away": {func(l *looks) { l.err = errors.New("away") }, true, hubEvery},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newLooks()
				c.change(l)
				defer l.runs(t)()
				l.watch(alice, uuid.New())
				want := int64(10 * time.Second / c.want)
				if got := l.between(10*time.Second, c.nudged); got < want-1 || got > want+1 {
					t.Errorf("%d looks in ten seconds; want %d", got, want)
				}
				if given := time.Duration(l.given.Load()); given != hubLimit {
					t.Errorf("a look is given %s", given)
				}
			})
		})
	}
}

// runs has the hub run until stop is called.
func (l *looks) runs(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { l.run(ctx); close(ended) }()
	return func() { cancel(); <-ended }
}

// It looks at once when somebody comes, not at all when nobody is there, and listens on for a while.
func TestNobodyLooksForNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLooks()
		defer l.runs(t)()
		if got := l.between(10*time.Second, true); got != 0 || l.listening.Load() {
			t.Errorf("%d looks for nobody, listening: %v", got, l.listening.Load())
		}
		for range 2 { // whoever comes back as well
			w := l.watch(alice, uuid.New())
			if got := l.between(time.Millisecond, false); got != 0 || !l.listening.Load() {
				t.Errorf("%d more looks after the first, listening: %v", got, l.listening.Load())
			}
			w.leave()
			if got := l.between(hubLinger-hubEvery, true); got != 0 || !l.listening.Load() {
				t.Errorf("%d looks when nobody is there any more, listening: %v", got, l.listening.Load())
			}
			l.between(3*hubEvery, false)
			if l.listening.Load() {
				t.Error("it still listens")
			}
		}
		if n := l.looked.Load(); n != 2 {
			t.Errorf("%d looks for two who came", n)
		}
	})
}

// Whoever has not seen its job is told that the look failed; whoever has sees on.
func TestALookThatFails(t *testing.T) {
	t.Parallel()
	l, id := newLooks(), uuid.New()
	var said strings.Builder
	l.log = slog.New(slog.NewTextHandler(&said, nil))
	seen := l.watch(alice, id)
	for range 2 {
		if err := l.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if woken := len(seen.news) > 0; woken != (l.looked.Load() == 1) {
			t.Errorf("told of something new by look %d: %v", l.looked.Load(), woken)
		}
		if l.looked.Load() == 1 {
			<-seen.news
		}
	}
	if late := l.watch(alice, id); len(late.news) != 1 {
		t.Error("whoever comes when its job was seen is not told of it")
	}
	l.err = errors.New("away")
	unseen := l.watch(alice, uuid.New())
	if err := l.look(t.Context()); !errors.Is(err, l.err) {
		t.Errorf("the look ends with %v", err)
	}
	if _, err := unseen.first(t.Context()); !errors.Is(err, l.err) {
		t.Errorf("whoever waits gets %v", err)
	}
	if got, err := seen.first(t.Context()); err != nil || got.ID != id || len(seen.news) > 0 {
		t.Errorf("whoever has seen its job gets %v, %v", got, err)
	}
	if got, err := l.watch(alice, unseen.id).latest(); got != nil || err != nil {
		t.Errorf("whoever comes then gets %v, %v before the next look", got, err)
	}
	l.err = nil
	if err := l.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := unseen.first(t.Context()); err != nil {
		t.Errorf("after a look: %v", err)
	}
	if _, err := l.watch(bob, id).first(t.Context()); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("another tenant gets %v", err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	l.err = context.Canceled
	_ = l.look(stopped)
	if n := strings.Count(said.String(), "\n"); n != 2 {
		t.Errorf("that it failed, and works again, is said in %d lines: %s", n, said.String())
	}
}

// Places are told as Position tells them.
func TestPlacesOfWatchedJobs(t *testing.T) {
	t.Parallel()
	a, b, c := uuid.New(), uuid.New(), uuid.New()
	l := newLineup([]queue.Standing{{JobID: a, Tenant: alice}, {JobID: b, Tenant: bob}, {JobID: c, Tenant: alice}})
	for id, want := range map[uuid.UUID]stand{a: {0, 0}, b: {1, 1}, c: {2, 1}} {
		if got, ok := l.find(id, ""); got != want || !ok {
			t.Errorf("%v, %v; want %v", got, ok, want)
		}
	}
	if got, ok := l.find(uuid.New(), bob); got != (stand{3, 2}) || ok {
		t.Errorf("not in line: %v, %v", got, ok)
	}
	full := make([]queue.Standing, queue.MaxPosition)
	for i := range full {
		full[i] = queue.Standing{JobID: uuid.New(), Tenant: alice}
	}
	if got, ok := newLineup(full).find(uuid.New(), alice); got != (stand{queue.MaxPosition, 0}) || !ok {
		t.Errorf("far back: %v, %v", got, ok)
	}
}

// Of what is estimated anew with each look an event's id tells nothing, and of all else everything.
func TestTheIdOfAnEvent(t *testing.T) {
	t.Parallel()
	now := time.Now()
	seen := func(change func(*sighting)) string {
		s := &sighting{News: queue.News{Job: queue.Job{State: queue.Queued, Lease: 1, UpdatedAt: now}},
			waiting: &Waiting{Reason: WaitingReasonBreaker, Position: new(2), Until: new(now)}}
		change(s)
		return s.sign()
	}
	ids := map[string]string{}
	for name, change := range map[string]func(*sighting){
		"as it is":        func(*sighting) {},
		"another lease":   func(s *sighting) { s.Lease++ },
		"another state":   func(s *sighting) { s.State = queue.Delayed },
		"changed later":   func(s *sighting) { s.UpdatedAt = now.Add(time.Millisecond) },
		"gone":            func(s *sighting) { s.Gone = true },
		"another place":   func(s *sighting) { s.waiting.Position = new(1) },
		"no place":        func(s *sighting) { s.waiting.Position = nil },
		"until later":     func(s *sighting) { s.waiting.Until = new(now.Add(time.Millisecond)) },
		"another reason":  func(s *sighting) { s.waiting.Reason = WaitingReasonAccount },
		"waiting no more": func(s *sighting) { s.waiting = nil },
	} {
		id := seen(change)
		if ids[id] != "" {
			t.Errorf("%s and %s have one id", name, ids[id])
		}
		ids[id] = name
	}
	limited := func(until time.Time) string {
		return seen(func(s *sighting) { s.waiting.Reason, s.waiting.Until = WaitingReasonRateLimit, new(until) })
	}
	if limited(now) != limited(now.Add(time.Second)) {
		t.Error("each estimate of when a limit ends is an event")
	}
}

// Why a watched job waits, where its line or its last try tell.
func TestWhyAWatchedJobWaits(t *testing.T) {
	t.Parallel()
	s := open(t)
	why := func(n queue.News, before *sighting) *Waiting {
		t.Helper()
		w, err := s.server.whyWatched(t.Context(), n, before)
		must(t, err)
		return w
	}
	held := why(queue.News{Job: queue.Job{State: queue.Delayed, Upstream: new(upstreamName)}, LastOutcome: new(queue.Held), LastStatus: new(http.StatusNotFound)}, nil)
	if held.Reason != WaitingReasonConfiguration {
		t.Errorf("a model that is not there: %+v", held)
	}
	job := queue.News{Job: queue.Job{ID: uuid.New(), State: queue.Queued, Type: "diary.entry", Upstream: new(upstreamName)}}
	third := &Waiting{Position: new(3)}
	if got := why(job, &sighting{News: job, waiting: third}); got != third {
		t.Errorf("one that has just left its line: %+v", got)
	}
	if got := why(job, nil); *got.Position != 1 {
		t.Errorf("one that nobody has seen in it: %+v", got)
	}
}

func TestPlacesOfNewcomers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ queued, first, second int }{
		{0, 0, 0}, {1, 0, 1}, {3, 2, 3}, {queue.MaxPosition - 1, queue.MaxPosition - 2, queue.MaxPosition - 1}, {queue.MaxPosition, queue.MaxPosition, queue.MaxPosition},
	} {
		p := &place{queued: c.queued}
		if first, second := p.next(), p.next(); first != c.first || second != c.second {
			t.Errorf("%d are queued: %d and %d ahead, want %d and %d", c.queued, first, second, c.first, c.second)
		}
	}
}

// A notification is a nudge, as is that nothing was missed while nobody listened.
func TestTheHubHears(t *testing.T) {
	t.Parallel()
	s := open(t)
	ctx, stop := context.WithCancel(t.Context())
	url := s.pool.Config().ConnString()
	h, done := newHub(s.server, url), make(chan struct{})
	go func() { h.hear(ctx, url); close(done) }()
	<-h.rung // it listens
	s.exec(`select pg_notify($1, '')`, queue.StateChannel)
	<-h.rung
	stop()
	<-done
	if log := s.log.String(); strings.Contains(log, "notifications") {
		t.Errorf("that it was told to stop is said: %s", log)
	}
}
