package breaker

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func job(n byte) uuid.UUID { return uuid.UUID{15: n} }

// warm is closed and was heard from.
func warm() Breaker {
	b := New()
	b.HeardAt = noon.Add(-time.Hour)
	return b
}

func failed(b Breaker, jobs ...byte) Report {
	r := Report{Generation: b.Generation, Failed: len(jobs), Trailing: len(jobs)}
	for _, n := range jobs {
		r.Jobs = append(r.Jobs, job(n))
	}
	return r
}

func tripped(now time.Time) Breaker {
	b := warm()
	return b.Report(failed(b, 1, 2, 3, 4, 5), DefaultRules, now, 0)
}

// probing is half-open with the permit 9 of worker w.
func probing(b Breaker, now time.Time) Breaker {
	b, _ = b.Grant(Probe{ID: job(9), Worker: "w", Until: now.Add(time.Minute)}, "", now)
	return b
}

func TestTransitions(t *testing.T) {
	t.Parallel()
	open := tripped(noon)
	later := open.RetryAt
	half := probing(open, later)
	held := warm().Refuse(Refused{Reason: Account, Job: job(1)}, DefaultRules, noon, 0)
	answer := func(b Breaker, a Answer) Breaker {
		a.Probe, a.Job = job(9), job(7)
		return b.Answered(a, DefaultRules, later, 0)
	}
	for name, c := range map[string]struct {
		from, to Breaker
		state    State
		reason   Reason
		wait     time.Duration // from now to RetryAt; -1: none
		moved    int64         // by how much the generation grew
	}{
		"five failures trip":              {warm(), open, Open, Failures, 20 * time.Second, 1},
		"Retry-After is longer":           {warm(), warm().Report(Report{Failed: 5, Trailing: 5, Jobs: []uuid.UUID{job(1), job(2), job(3)}, RetryAfter: time.Minute}, DefaultRules, noon, 0), Open, Failures, time.Minute, 1},
		"Retry-After is too long":         {warm(), warm().Report(Report{Failed: 5, Trailing: 5, Jobs: []uuid.UUID{job(1), job(2), job(3)}, RetryAfter: 99 * time.Hour}, DefaultRules, noon, 0), Open, Failures, time.Hour, 1},
		"the account stops":               {warm(), held, Open, Account, 2 * time.Minute, 1},
		"a probe starts":                  {open, half, HalfOpen, Failures, 0, 1},
		"the probe succeeds":              {half, answer(half, Answer{Alive: true, OK: true}), Closed, "", -1, 1},
		"the probe meets a limit":         {half, answer(half, Answer{Alive: true}), Closed, "", -1, 1},
		"the probe fails":                 {half, answer(half, Answer{}), Open, Failures, 40 * time.Second, 1},
		"the probe fails, with a time":    {half, answer(half, Answer{RetryAfter: 10 * time.Minute}), Open, Failures, 10 * time.Minute, 1},
		"the probe is refused":            {half, answer(half, Answer{Reason: Credentials}), Open, Credentials, 2 * time.Minute, 1},
		"the probe ends without answer":   {half, half.Free(job(9), later), Open, Failures, 0, 1},
		"another probe's end":             {half, half.Free(job(8), later), HalfOpen, Failures, 0, 0},
		"pause":                           {warm(), warm().Pause(noon), Open, Operator, -1, 1},
		"pause twice":                     {warm().Pause(noon), warm().Pause(noon).Pause(noon.Add(time.Hour)), Open, Operator, -1, 0},
		"pause while open":                {open, open.Pause(noon), Open, Operator, -1, 1},
		"pause while half-open":           {half, half.Pause(later), Open, Operator, -1, 1},
		"resume after pause":              {warm().Pause(noon), warm().Pause(noon).Resume(noon), Closed, "", -1, 1},
		"resume while held":               {held, held.Resume(noon), Open, Account, 0, 0},
		"resume while closed":             {warm(), warm().Resume(noon), Closed, "", -1, 0},
		"resume while half-open":          {half, half.Resume(later), HalfOpen, Failures, 0, 0},
		"an older success while open":     {open, open.Report(Report{OK: 100}, DefaultRules, noon, 0), Open, Failures, 20 * time.Second, 0},
		"a success of now while open":     {open, open.Report(Report{Generation: open.Generation, OK: 9}, DefaultRules, noon, 0), Open, Failures, 20 * time.Second, 0},
		"failures of an older generation": {closed(half), closed(half).Report(failed(warm(), 1, 2, 3, 4, 5, 6, 7), DefaultRules, later, 0), Closed, "", -1, 0},
		"a refusal of an older one":       {closed(half), closed(half).Refuse(Refused{Reason: Account}, DefaultRules, later, 0), Closed, "", -1, 0},
	} {
		now := noon
		if c.from.State == HalfOpen || c.to.State == HalfOpen {
			now = later
		}
		if c.to.State != c.state || c.to.Reason != c.reason || c.to.Generation-c.from.Generation != c.moved {
			t.Errorf("%s: %s (%s), generation %d after %d; want %s (%s), +%d", name, c.to.State, c.to.Reason, c.to.Generation, c.from.Generation, c.state, c.reason, c.moved)
		}
		if c.wait < 0 != c.to.RetryAt.IsZero() || c.wait >= 0 && c.to.RetryAt.Sub(now) != c.wait {
			t.Errorf("%s: retry in %v; want %v", name, c.to.RetryAt.Sub(now), c.wait)
		}
	}
}

func closed(half Breaker) Breaker { return half.close(half.RetryAt) }

func TestFailuresOfTwoJobsNeverTrip(t *testing.T) {
	t.Parallel()
	b := warm()
	for range 19 {
		b = b.Report(failed(b, 1, 2), DefaultRules, noon, 0)
		b.WindowAt, b.WindowOK, b.WindowBad = time.Time{}, nil, nil // so that the window's rule is not met either
	}
	if b.State != Closed || b.Failures != 38 || len(b.FailingJobs) != 2 {
		t.Errorf("%+v", b)
	}
	if b = b.Report(failed(b, 3), DefaultRules, noon, 0); b.State != Open {
		t.Error("the third job did not trip it")
	}
}

func TestASuccessReplacesTheRun(t *testing.T) {
	t.Parallel()
	b := warm()
	b = b.Report(failed(b, 1, 2, 3, 4), DefaultRules, noon, 0)
	b = b.Report(Report{OK: 1, Failed: 3, Trailing: 1, Jobs: []uuid.UUID{job(9)}}, DefaultRules, noon, 0)
	if b.State != Closed || b.Failures != 1 || !slices.Equal(b.FailingJobs, []uuid.UUID{job(9)}) {
		t.Errorf("%+v", b)
	}
	b = b.Report(Report{OK: 1}, DefaultRules, noon, 0)
	if b.Failures != 0 || b.FailingJobs != nil || !b.LastOKAt.Equal(noon) {
		t.Errorf("%+v", b)
	}
}

func TestWindow(t *testing.T) {
	t.Parallel()
	one := Report{OK: 5, Failed: 5, Trailing: 1, Jobs: []uuid.UUID{job(1)}}
	step := func(b Breaker, at time.Duration) Breaker {
		now := noon.Add(at)
		return b.Sane(DefaultRules, now).Report(one, DefaultRules, now, 0)
	}
	if b := step(warm(), 0); b.State != Closed {
		t.Error("10 calls tripped it")
	}
	if b := step(step(warm(), 0), 20*time.Second); b.State != Open || b.Reason != Failures {
		t.Error("half of 20 calls in 30 s did not trip it")
	}
	if b := step(step(warm(), 0), 35*time.Second); b.State != Closed {
		t.Error("calls of half a minute ago count")
	}
	b := step(warm(), time.Hour)
	b = step(b, 0) // the clock stepped back
	if ok, bad := b.sums(); b.State != Closed || ok != 5 || bad != 5 || b.WindowAt.After(noon) {
		t.Errorf("after a step back the window is %d and %d at %v", ok, bad, b.WindowAt)
	}
	if b = step(b, time.Second); b.State != Open {
		t.Error("the window does not count after a step back")
	}
}

func TestRelapseDoubles(t *testing.T) {
	t.Parallel()
	b := tripped(noon)
	b = probing(b, b.RetryAt)
	b = b.Answered(Answer{Probe: job(9), Alive: true, OK: true}, DefaultRules, b.RetryAt, 0)
	soon, late := b.ClosedAt.Add(9*time.Second), b.ClosedAt.Add(11*time.Second)
	if again := b.Report(failed(b, 1, 2, 3, 4, 5), DefaultRules, soon, 0); again.RetryAt.Sub(soon) != 40*time.Second {
		t.Errorf("a relapse opens for %v", again.RetryAt.Sub(soon))
	}
	if again := b.Report(failed(b, 1, 2, 3, 4, 5), DefaultRules, late, 0); again.RetryAt.Sub(late) != 20*time.Second {
		t.Errorf("a new failure opens for %v", again.RetryAt.Sub(late))
	}
}

func TestProbesThatFailDoubleTheTimeUpToItsBound(t *testing.T) {
	t.Parallel()
	b := tripped(noon)
	for _, want := range []time.Duration{40, 80, 160, 300, 300} {
		now := b.RetryAt
		if _, granted := b.Grant(Probe{ID: job(9), Until: now}, "", now.Add(-1)); granted {
			t.Fatal("a probe started before its time")
		}
		b = probing(b, now).Answered(Answer{Probe: job(9), Job: job(1)}, DefaultRules, now, 0)
		if b.RetryAt.Sub(now) != want*time.Second {
			t.Errorf("open for %v; want %v s", b.RetryAt.Sub(now), int64(want))
		}
	}
}

// Nobody can tell how long a breaker has been open that was opened in the future, and no worker would ask before its time.
func TestAClockThatIsSetBackShutsNobodyOut(t *testing.T) {
	t.Parallel()
	b := tripped(noon)
	if b.Admits("", noon) {
		t.Error("a probe at once")
	}
	yesterday := noon.Add(-24 * time.Hour)
	if !b.Admits("", yesterday) {
		t.Error("no probe for a day, as the clock was set back by so much")
	}
	if wait := b.Sane(DefaultRules, yesterday).RetryAt.Sub(yesterday); wait > DefaultRules.MaxRetry*11/10 {
		t.Errorf("what is told of the next probe is %v away", wait)
	}
	if warm().Pause(noon).Admits("", yesterday) {
		t.Error("a probe of what an operator has paused")
	}
}

func TestALostPermitsAnswerIsIgnored(t *testing.T) {
	t.Parallel()
	b := tripped(noon)
	b = probing(b, b.RetryAt)
	at := b.Probe.Until
	next, granted := b.Grant(Probe{ID: job(8), Worker: "v", Until: at.Add(time.Minute)}, "", at)
	if !granted {
		t.Fatal("a permit whose time is over blocks the next one")
	}
	if got := next.Answered(Answer{Probe: job(9), Alive: true, OK: true}, DefaultRules, at, 0); got.State != HalfOpen || got.Probe.ID != job(8) {
		t.Errorf("a lost permit's answer led to %+v", got)
	}
	if got := next.Answered(Answer{}, DefaultRules, at, 0); got.State != HalfOpen {
		t.Errorf("no permit's answer led to %+v", got)
	}
	if _, took := next.Took(job(9), job(1)); took {
		t.Error("a lost permit took a job")
	}
	if got, took := next.Took(job(8), job(1)); !took || got.ProbeJob != job(1) {
		t.Error("the permit in force took no job")
	}
}

func TestColdStart(t *testing.T) {
	t.Parallel()
	cold := New()
	if !cold.Cold() || !cold.Admits("", noon) || warm().Admits("", noon) {
		t.Fatal("a cold breaker admits one call, a warm one needs no permit")
	}
	out := probing(cold, noon)
	if out.Admits("", noon) || out.State != Closed || out.Generation != 0 {
		t.Errorf("with its permit out: %+v", out)
	}
	answer := func(b Breaker, a Answer) Breaker {
		a.Probe, a.Job = job(9), job(1)
		return b.Answered(a, DefaultRules, noon, 0)
	}
	if b := answer(out, Answer{Alive: true}); b.Cold() || b.State != Closed {
		t.Errorf("a living provider: %+v", b)
	}
	if b := answer(out, Answer{}); !b.Cold() || b.Failures != 1 || !b.Admits("", noon) {
		t.Errorf("a failure: %+v", b)
	}
	if b := answer(out, Answer{Reason: Account}); b.State != Open || b.Reason != Account {
		t.Errorf("an account's stop: %+v", b)
	}
	if b := answer(out, Answer{Reason: Credentials}); b.State != Closed || b.Suspect.Job != job(1) || !b.Cold() {
		t.Errorf("a refused credential: %+v", b)
	}
	if b := out.Free(job(9), noon); b.Probe.ID != uuid.Nil || b.State != Closed || !b.Admits("", noon) {
		t.Errorf("without an answer: %+v", b)
	}
	b := cold
	for n := range byte(4) {
		b = probing(b, noon).Answered(Answer{Probe: job(9), Job: job(n)}, DefaultRules, noon, 0)
	}
	if opened := probing(b, noon).Answered(Answer{Probe: job(9), Job: job(5)}, DefaultRules, noon, 0); opened.State != Open {
		t.Errorf("five failures of a cold upstream: %+v", opened)
	}
	b = probing(b, noon).Answered(Answer{Probe: job(9), Job: job(5), Alive: true, OK: true}, DefaultRules, noon, 0)
	if b = b.Report(failed(b, 6), DefaultRules, noon, 0); b.State != Closed || b.Failures != 1 {
		t.Errorf("a failure after the first success is one in a row: %+v", b)
	}
}

func TestARefusedCredentialNeedsASecondJob(t *testing.T) {
	t.Parallel()
	refuse := func(b Breaker, reason Reason, n byte, now time.Time) Breaker {
		return b.Refuse(Refused{Generation: b.Generation, Reason: reason, Job: job(n)}, DefaultRules, now, 0)
	}
	first := refuse(warm(), Credentials, 1, noon)
	if first.State != Closed || first.Suspect.Job != job(1) {
		t.Fatalf("%+v", first)
	}
	if b := refuse(first, Credentials, 1, noon); b.State != Closed {
		t.Error("the same job confirmed itself")
	}
	if b := refuse(first, Configuration, 2, noon); b.State != Closed || b.Suspect.Reason != Configuration {
		t.Error("another reason confirmed it")
	}
	if b := refuse(first, Credentials, 2, noon); b.State != Open || b.Reason != Credentials || b.RetryAt.Sub(noon) != DefaultRules.HoldFor {
		t.Errorf("a second job did not confirm it: %+v", b)
	}
	succeeded := first.Report(Report{Generation: first.Generation, OK: 1}, DefaultRules, noon, 0)
	if succeeded.Suspect != (Suspect{}) {
		t.Error("a success left the suspicion")
	}
	again := refuse(succeeded, Credentials, 1, noon)
	if b := refuse(again, Credentials, 2, noon.Add(59*time.Second)); b.State != Closed {
		t.Error("confirmed although something succeeded within the minute")
	}
	if b := refuse(again, Credentials, 2, noon.Add(time.Minute)); b.State != Open {
		t.Error("not confirmed a minute after the last success")
	}
	back := again.Sane(DefaultRules, noon.Add(-time.Hour)) // the clock stepped back
	if b := refuse(back, Credentials, 2, noon.Add(-59*time.Minute)); b.State != Open {
		t.Error("after a step back, a success of the future forbids to confirm")
	}
}

// Any story: whatever comes in whatever order, at whatever time.
func TestAnyStory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b, now := New(), noon
		permits := []Probe{{ID: job(200)}}
		next := byte(0)
		reasons := rapid.SampledFrom([]Reason{Account, Credentials, Configuration})
		generation := func() int64 { return rapid.Int64Range(max(0, b.Generation-2), b.Generation).Draw(t, "generation") }
		credentials := rapid.SampledFrom([]string{"", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j"})
		jobs := rapid.Custom(func(t *rapid.T) uuid.UUID { return job(rapid.Byte().Draw(t, "job")) })
		before := b
		apply := func(change func(Breaker) Breaker) {
			before = b.Sane(DefaultRules, now)
			b = change(before)
		}
		rnd := func() float64 { return rapid.Float64Range(0, 0.999999).Draw(t, "rnd") }
		t.Repeat(map[string]func(*rapid.T){
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(t, "time")))
				apply(func(b Breaker) Breaker { return b })
			},
			"moment": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "time")))
				apply(func(b Breaker) Breaker { return b })
			},
			"report": func(t *rapid.T) {
				r := Report{Generation: generation(), Credential: credentials.Draw(t, "credential"), OK: rapid.IntRange(0, 20).Draw(t, "ok"), Failed: rapid.IntRange(0, 20).Draw(t, "failed"),
					RetryAfter: time.Duration(rapid.Int64().Draw(t, "retry after"))}
				r.Trailing = r.Failed
				if r.OK > 0 {
					r.Trailing = rapid.IntRange(0, r.Failed).Draw(t, "trailing")
				}
				r.Jobs = rapid.SliceOfN(jobs, 0, r.Trailing).Draw(t, "jobs")
				apply(func(b Breaker) Breaker { return b.Report(r, DefaultRules, now, rnd()) })
				if r.Generation != before.Generation && (b.State != before.State || b.Generation != before.Generation || b.Failures != before.Failures) {
					t.Fatalf("an older generation changed %+v to %+v", before, b)
				}
			},
			"refuse": func(t *rapid.T) {
				r := Refused{Generation: generation(), Reason: reasons.Draw(t, "reason"), Credential: credentials.Draw(t, "credential"), Job: jobs.Draw(t, "job")}
				apply(func(b Breaker) Breaker { return b.Refuse(r, DefaultRules, now, rnd()) })
				if r.Generation != before.Generation && b.Generation != before.Generation {
					t.Fatal("an older generation changed the state")
				}
			},
			"grant": func(t *rapid.T) {
				next++
				p := Probe{ID: job(next), Worker: "w", Until: now.Add(time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "lasts")))}
				credential, granted := credentials.Draw(t, "credential"), false
				apply(func(b Breaker) Breaker { b, granted = b.Grant(p, credential, now); return b })
				if granted {
					if before.Probe.ID != uuid.Nil && now.Before(before.Probe.Until) {
						t.Fatal("two permits are in force")
					}
					if before.State == Closed && !before.Cold() {
						t.Fatal("a permit where none is needed")
					}
					untried := credential != "" && !slices.Contains(before.Refused, credential)
					if before.State == Open && (before.RetryAt.IsZero() || now.Before(before.RetryAt) && !now.Before(before.OpenedAt)) && !(before.Reason == Credentials && untried) {
						t.Fatal("a permit before its time")
					}
					permits = append(permits, p)
				} else if b.Probe != before.Probe {
					t.Fatal("a permit that was not granted is there")
				}
			},
			"answer": func(t *rapid.T) {
				a := Answer{Probe: rapid.SampledFrom(permits).Draw(t, "permit").ID, Job: jobs.Draw(t, "job"), Credential: credentials.Draw(t, "credential"), Alive: rapid.Bool().Draw(t, "alive"),
					RetryAfter: time.Duration(rapid.Int64().Draw(t, "retry after"))}
				if a.Alive {
					a.OK = rapid.Bool().Draw(t, "ok")
				} else if rapid.Bool().Draw(t, "refused") {
					a.Reason = reasons.Draw(t, "reason")
				}
				apply(func(b Breaker) Breaker { return b.Answered(a, DefaultRules, now, rnd()) })
				if before.Probe.ID != a.Probe && (b.State != before.State || b.Generation != before.Generation || b.Probe != before.Probe) {
					t.Fatal("the answer of a permit that is not in force changed the state")
				}
			},
			"free": func(t *rapid.T) {
				p := rapid.SampledFrom(permits).Draw(t, "permit").ID
				apply(func(b Breaker) Breaker { return b.Free(p, now) })
			},
			"pause":  func(*rapid.T) { apply(func(b Breaker) Breaker { return b.Pause(now) }) },
			"resume": func(*rapid.T) { apply(func(b Breaker) Breaker { return b.Resume(now) }) },
			"": func(t *rapid.T) {
				if b.State != before.State && b.Generation != before.Generation+1 || b.Generation < before.Generation {
					t.Fatalf("from %s, %d to %s, %d", before.State, before.Generation, b.State, b.Generation)
				}
				longest := DefaultRules.MaxRetry + DefaultRules.MaxRetry/10
				if wait := b.RetryAt.Sub(now); wait > longest {
					t.Fatalf("RetryAt is %v away", wait)
				}
				if (b.State == Closed) != (b.Reason == "") || b.State != Closed && b.OpenedAt.IsZero() || b.State == HalfOpen && b.Probe.ID == uuid.Nil || b.State == Open && b.Probe.ID != uuid.Nil {
					t.Fatalf("%+v", b)
				}
				if b.State == Open && b.RetryAt.IsZero() != (b.Reason == Operator) {
					t.Fatalf("open for %s, retry at %v", b.Reason, b.RetryAt)
				}
				if distinct := slices.Compact(slices.Sorted(slices.Values(b.Refused))); len(b.Refused) > MaxRefused || len(distinct) != len(b.Refused) || slices.Contains(b.Refused, "") {
					t.Fatalf("refused are %q", b.Refused)
				}
				if b.Failures < 0 || len(b.FailingJobs) > DefaultRules.RunJobs || b.WindowAt.After(now) {
					t.Fatalf("%+v", b)
				}
			},
		})
	})
}
