package worker

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/upstream"
)

func TestALineLearnsWhatIsNewer(t *testing.T) {
	t.Parallel()
	now := time.Now()
	status := func(generation int64, at time.Duration, state string) upstream.Status {
		return upstream.Status{Generation: generation, Now: now.Add(at), State: state}
	}
	cases := []struct {
		name string
		s    upstream.Status
		want string
	}{
		{"a later read", status(5, time.Second, "open"), "open"},
		{"a later generation, whatever the clock says", status(6, -time.Hour, "open"), "open"},
		{"a read that crossed ours", status(5, -time.Second, "open"), "closed"},
		{"an older generation, read at about the same time", status(4, time.Second, "open"), "closed"},
		{"the database's clock was set back", status(5, -time.Hour, "open"), "open"},
		{"a failover lost the last changes", status(4, time.Minute, "open"), "open"},
	}
	for _, c := range cases {
		l := &line{paced: true}
		l.learn(status(5, 0, "closed"))
		l.learn(c.s)
		if l.status.State != c.want {
			t.Errorf("%s: the line believes it is %s, want %s", c.name, l.status.State, c.want)
		}
	}
}

func TestWhoIsAloneAtFault(t *testing.T) {
	t.Parallel()
	now := time.Now()
	l := &line{}
	if l.alone(time.Hour, now) {
		t.Error("a worker that never succeeded blamed the job")
	}
	l.succeeded(now.Add(-10 * time.Second))
	l.succeeded(now.Add(-20 * time.Second)) // ended later, began earlier
	if !l.alone(15*time.Second, now) {
		t.Error("others succeeded since it was refused, and it was not blamed")
	}
	if l.alone(5*time.Second, now) {
		t.Error("a call that began before the refusal counted as proof")
	}
}

func TestCareAfterRefusals(t *testing.T) {
	t.Parallel()
	now := time.Now()
	l := &line{running: 3}
	if n := l.careful(50, now); n != 50 {
		t.Errorf("%d calls may start, want 50", n)
	}
	l.refused(now)
	if n := l.careful(50, now.Add(time.Minute)); n != 0 {
		t.Error("a call started beside others while the key is in doubt")
	}
	l.running = 0
	for _, wait := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		if n := l.careful(50, now.Add(wait*time.Second-1)); n != 0 {
			t.Errorf("%d calls within %d s", n, wait)
		}
		if n := l.careful(50, now.Add(wait*time.Second)); n != 1 {
			t.Errorf("%d calls after %d s, want one", n, wait)
		}
		l.refused(now)
	}
	l.succeeded(now)
	if n := l.careful(50, now); n != 50 {
		t.Errorf("%d calls may start after a success, want 50", n)
	}
	l.refused(now)
	l.learn(upstream.Status{Generation: 1})
	if n := l.careful(50, now); n != 50 {
		t.Errorf("%d calls may start after the breaker decided, want 50", n)
	}
}

func TestACredentialThatIsNotTheFleetsGoesAloneUntilItSucceeds(t *testing.T) {
	t.Parallel()
	now := time.Now()
	line := func(own, fleets string) *line {
		return &line{credential: own, status: upstream.Status{LastOKBy: fleets}}
	}
	for _, c := range []struct {
		own, fleets string
		want        int
	}{{"new", "new", 50}, {"", "new", 50}, {"new", "", 50}, {"old", "new", 1}} {
		if n := line(c.own, c.fleets).careful(50, now); n != c.want {
			t.Errorf("own %q, the fleet's %q: %d calls may start, want %d", c.own, c.fleets, n, c.want)
		}
	}
	l := line("old", "new")
	l.running = 1
	if n := l.careful(50, now); n != 0 {
		t.Error("a call started beside the first one")
	}
	l.succeeded(now)
	if n := l.careful(50, now); n != 50 {
		t.Errorf("%d calls may start after a success, want 50", n)
	}
}

func TestAParkedLineTriesOneCallInEachInterval(t *testing.T) {
	t.Parallel()
	now := time.Now()
	l := &line{}
	if n := l.trial(50, time.Minute, now); n != 1 {
		t.Errorf("%d calls may start at first, want one", n)
	}
	l.claimedAt = now
	if n := l.trial(50, time.Minute, now.Add(time.Minute-1)); n != 0 {
		t.Errorf("%d calls within the minute", n)
	}
	if n := l.trial(50, time.Minute, now.Add(time.Minute)); n != 1 {
		t.Errorf("%d calls after a minute, want one", n)
	}
	if n := l.trial(0, time.Minute, now.Add(time.Minute)); n != 0 {
		t.Errorf("%d calls without a slot", n)
	}
	l.running = 1
	if n := l.trial(50, time.Minute, now.Add(time.Hour)); n != 0 {
		t.Error("a call started beside another one")
	}
}

func TestTheShareOfALine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lines, slots int
		share        float64
		want         int
	}{{1, 10, 0, 10}, {2, 10, 0, 5}, {5, 10, 0, 5}, {2, 3, 0, 2}, {2, 1, 0, 1}, {3, 10, 0.1, 1}, {3, 10, 1, 10}} {
		l := &life{Worker: &Worker{cfg: Config{Concurrency: c.slots, Share: c.share}}, lines: map[string]*line{}}
		for range c.lines {
			l.lines[uuid.NewString()] = &line{}
		}
		if got := l.share(); got != c.want {
			t.Errorf("%d lines, %d slots, share %v: one may hold %d, want %d", c.lines, c.slots, c.share, got, c.want)
		}
	}
}

// Permits do not go back while their jobs are being claimed, however long that takes: the calls would start without any.
func TestPermitsStayForAClaimUnderWay(t *testing.T) {
	t.Parallel()
	now := time.Now()
	l := &line{purse: purse{requests: 5, bought: 5, until: now}, claiming: true}
	if back, some := l.rest(now.Add(time.Second)); some {
		t.Errorf("%+v went back", back)
	}
	l.claiming = false
	if back, some := l.rest(now.Add(time.Second)); !some || back.Requests != 5 {
		t.Errorf("%+v went back, want all five", back)
	}
}

// What a visit was told to wait for may be over sooner: then the next one need not wait for it.
func TestAWaitEndsWhenTheQuotaIsFree(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, c := range []struct {
		name  string
		s     upstream.Status
		purse int
		cut   bool
	}{
		{"free", upstream.Status{Now: now}, 0, true},
		{"still to wait", upstream.Status{Now: now, Wait: time.Second}, 0, false},
		{"at a limit", upstream.Status{Now: now, Tight: upstream.OnTokens}, 0, false},
		{"permits are left", upstream.Status{Now: now}, 1, false},
	} {
		l := &line{paced: true, visitAt: now.Add(time.Second), askAt: now.Add(time.Hour), purse: purse{requests: c.purse}}
		l.learn(c.s)
		if l.askAt.Equal(l.visitAt) != c.cut {
			t.Errorf("%s: asks again in %v", c.name, l.askAt.Sub(now))
		}
	}
}
