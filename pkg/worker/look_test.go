package worker

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/sluicedev/sluice/pkg/breaker"
	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/queue"
	"github.com/sluicedev/sluice/pkg/upstream"
)

// away is a database that does not answer.
type away struct{ pg.DB }

func (away) Query(context.Context, string, ...any) (pgx.Rows, error) { return nil, errors.New("away") }

// soon is a moment that is yet to come, for what has just happened: however long a test is kept from running, it is not old.
func soon() time.Time { return time.Now().Add(time.Minute) }

// ready is a life with one line, whose jobs may be claimed, and an attempt that may start. A change of any one thing may
// keep it from that.
func ready() (*life, *attempt) {
	only := &line{
		paced: true, hot: true, known: true, credential: "mine", readAt: soon(),
		status: upstream.Status{State: string(breaker.Closed), Generation: 3},
	}
	l := &life{
		Worker: &Worker{cfg: Config{Concurrency: 10, DeathAfter: time.Hour}, upstreams: upstream.New(away{})},
		log:    slog.New(slog.DiscardHandler), lines: map[string]*line{"": only}, free: 10, beaten: time.Now(),
	}
	l.calls, l.drop = context.WithCancelCause(context.Background())
	return l, &attempt{line: only, generation: 3, checked: soon()}
}

func (a *attempt) probes(state breaker.State) {
	a.probe, a.line.status.State = uuid.New(), string(state)
}

// From its claim to its call an attempt is overtaken by one thing, and by no other: that alone keeps it from starting.
func TestWhatKeepsACallFromStarting(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*life, *attempt)
		starts bool
	}{
		"nothing":                              {func(*life, *attempt) {}, true},
		"the job was cancelled":                {func(_ *life, a *attempt) { a.cancelled = true }, false},
		"the worker is told to stop":           {func(l *life, _ *attempt) { l.noneStart() }, false},
		"calls are dropped":                    {func(l *life, _ *attempt) { l.drop(errBuried) }, false},
		"no beat for a while":                  {func(l *life, _ *attempt) { l.beaten = time.Now().Add(-l.cfg.DeathAfter * 3 / 4) }, true},
		"no beat, and soon it is dead":         {func(l *life, _ *attempt) { l.beaten = time.Now().Add(-l.cfg.DeathAfter * 9 / 10) }, false},
		"the breaker opened":                   {func(_ *life, a *attempt) { a.line.status.State = string(breaker.Open) }, false},
		"the breaker opened and closed again":  {func(_ *life, a *attempt) { a.line.status.Generation++ }, false},
		"failures here, of which nobody knows": {func(_ *life, a *attempt) { a.line.run = localRun }, false},
		"the upstream has to be heard first":   {func(_ *life, a *attempt) { a.line.status.Cold = true }, false},
		"there is no upstream": {func(_ *life, a *attempt) {
			*a.line, a.generation = line{}, 0
		}, true},
		"a probe, half-open":           {func(_ *life, a *attempt) { a.probes(breaker.HalfOpen) }, true},
		"a probe, by an older copy":    {func(_ *life, a *attempt) { a.probes(breaker.Open); a.line.status.Generation-- }, true},
		"a probe whose permit is over": {func(_ *life, a *attempt) { a.probes(breaker.Open); a.line.status.Generation++ }, false},
	} {
		l, a := ready()
		c.change(l, a)
		if starts := l.mayStart(a, nil); starts != c.starts {
			t.Errorf("%s: it starts: %v, want %v", name, starts, c.starts)
		}
	}
}

// The breaker cannot be read. What is known of it is good for a second, be it from the claim or from a look.
func TestWhatIsNewsEnoughToStartACall(t *testing.T) {
	t.Parallel()
	old := time.Now().Add(-newsLast - time.Second)
	for name, c := range map[string]struct {
		change func(*attempt)
		news   bool
	}{
		"the claim was just now":           {func(a *attempt) { a.line.readAt = old }, true},
		"the last look was just now":       {func(a *attempt) { a.checked = old }, true},
		"both are old":                     {func(a *attempt) { a.checked, a.line.readAt = old, old }, false},
		"both are old, but of no upstream": {func(a *attempt) { a.checked, a.line = old, &line{readAt: old} }, true},
	} {
		l, a := ready()
		c.change(a)
		if news := l.hasNews(t.Context(), a); news != c.news {
			t.Errorf("%s: it may start: %v, want %v", name, news, c.news)
		}
	}
}

func TestHowManyJobsOfALineMayBeClaimed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*life, *line)
		room   int
	}{
		"all slots are free":                     {func(*life, *line) {}, 10},
		"three slots are free":                   {func(l *life, _ *line) { l.free = 3 }, 3},
		"it holds eight of ten":                  {func(_ *life, line *line) { line.running = 8 }, 2},
		"nobody waits":                           {func(_ *life, line *line) { line.hot = false }, 0},
		"no beat":                                {func(l *life, _ *line) { l.beaten = time.Time{} }, 0},
		"the breaker is open":                    {func(_ *life, line *line) { line.opens(false) }, 0},
		"a probe":                                {func(_ *life, line *line) { line.opens(true) }, 1},
		"a probe, and nobody waits":              {func(_ *life, line *line) { line.opens(true); line.hot = false }, 0},
		"a probe, and no slot":                   {func(l *life, line *line) { line.opens(true); l.free = 0 }, 0},
		"a probe, and no beat":                   {func(l *life, line *line) { line.opens(true); l.beaten = time.Time{} }, 0},
		"a probe that it makes already":          {func(_ *life, line *line) { line.opens(true); line.probing = true }, 0},
		"the first call of all":                  {func(_ *life, line *line) { line.isCold() }, 1},
		"the first call of all, after a refusal": {func(_ *life, line *line) { line.isCold(); line.refused(soon()) }, 0},
		"the first call of all, a while after one": {func(_ *life, line *line) {
			line.isCold()
			line.refused(time.Now().Add(-time.Minute))
		}, 1},
		"a probe, after a refusal": {func(_ *life, line *line) { line.opens(true); line.refused(time.Now()) }, 1},
		"its key is refused":       {func(_ *life, line *line) { line.status.Refused = []string{"mine"} }, 1},
		"its key is refused, and has been tried": {func(_ *life, line *line) {
			line.status.Refused, line.claimedAt = []string{"mine"}, time.Now()
		}, 0},
		"its key was just refused": {func(_ *life, line *line) { line.refused(soon()) }, 0},
	} {
		l, a := ready()
		c.change(l, a.line)
		if room := l.room(a.line); room != c.room {
			t.Errorf("%s: %d may be claimed, want %d", name, room, c.room)
		}
	}
}

// Claims start where the last one came to, and now and then at the head of the line.
func TestWhereAClaimStarts(t *testing.T) {
	t.Parallel()
	now, came := time.Now(), queue.Mark{7, 8}
	l := line{mark: came, headAt: now}
	if got := l.from(now.Add(headEvery - 1)); got != came {
		t.Errorf("soon after a claim from the head: %v, want %v", got, came)
	}
	later := now.Add(headEvery)
	if got := l.from(later); got != (queue.Mark{}) || l.mark != (queue.Mark{}) || l.headAt != later {
		t.Errorf("a while after it: %v, and the line is at %v since %v", got, l.mark, l.headAt)
	}
}

// opens opens the line's breaker, with or without room for a probe.
func (l *line) opens(admits bool) {
	l.status.State, l.status.Admits = string(breaker.Open), admits
}

// isCold makes the line's upstream one that nobody has heard.
func (l *line) isCold() { l.status.Cold, l.status.Admits = true, true }
