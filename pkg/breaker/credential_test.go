package breaker

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// meets is a refusal of a credential, met with a job.
func (b Breaker) meets(credential string, n byte, now time.Time) Breaker {
	return b.Refuse(Refused{Generation: b.Generation, Reason: Credentials, Credential: credential, Job: job(n)}, DefaultRules, now, 0)
}

// works is a report of a success.
func (b Breaker) works(credential string, now time.Time) Breaker {
	return b.Report(Report{Generation: b.Generation, Credential: credential, OK: 1}, DefaultRules, now, 0)
}

// probes grants a credential a probe, which meets a.
func (b Breaker) probes(t *testing.T, credential string, a Answer, now time.Time) Breaker {
	t.Helper()
	b, granted := b.Grant(Probe{ID: job(9), Worker: "w", Until: now.Add(time.Minute)}, credential, now)
	if !granted {
		t.Fatalf("%q may not probe: %+v", credential, b)
	}
	a.Probe, a.Job, a.Credential = job(9), job(7), credential
	return b.Answered(a, DefaultRules, now, 0)
}

func TestWhoseCredentialIsRefused(t *testing.T) {
	t.Parallel()
	const soon, later = 30 * time.Second, 2 * time.Minute
	for name, c := range map[string]struct {
		b       Breaker
		state   State
		refused []string
		suspect string
	}{
		"one job confirms nothing":              {warm().works("new", noon).meets("old", 1, noon).meets("old", 1, noon), Closed, nil, "old"},
		"others succeed: it alone":              {warm().works("new", noon).meets("old", 1, noon).meets("old", 2, noon.Add(soon)), Closed, []string{"old"}, ""},
		"others succeed in between":             {warm().meets("old", 1, noon).works("new", noon).meets("old", 2, noon.Add(soon)), Closed, []string{"old"}, ""},
		"nobody succeeds":                       {warm().meets("old", 1, noon).meets("old", 2, noon), Open, []string{"old"}, ""},
		"others succeeded long ago":             {warm().works("new", noon).meets("old", 1, noon.Add(later)).meets("old", 2, noon.Add(later)), Open, []string{"old"}, ""},
		"it succeeded itself":                   {warm().works("old", noon).meets("old", 1, noon).meets("old", 2, noon.Add(soon)), Closed, nil, "old"},
		"it succeeds in between":                {warm().meets("old", 1, noon).works("old", noon).meets("old", 2, noon.Add(soon)), Closed, nil, "old"},
		"another one's refusal":                 {warm().works("new", noon).meets("old", 1, noon).meets("odd", 2, noon), Closed, nil, "old"},
		"another one's, and then its own":       {warm().works("new", noon).meets("old", 1, noon).meets("odd", 2, noon).meets("old", 3, noon), Closed, []string{"old"}, ""},
		"another one's, much later":             {warm().meets("old", 1, noon).works("new", noon.Add(soon)).meets("odd", 2, noon.Add(soon).Add(soon)), Closed, nil, "odd"},
		"another one's, and nobody succeeds":    {warm().meets("old", 1, noon).meets("odd", 2, noon.Add(later)), Open, []string{"odd"}, ""},
		"its own keep the suspicion young":      {warm().meets("old", 1, noon).works("new", noon.Add(soon)).meets("old", 1, noon.Add(soon)).meets("odd", 2, noon.Add(70*time.Second)), Closed, nil, "old"},
		"the clock steps back in between":       {warm().meets("old", 1, noon).Sane(DefaultRules, noon.Add(-time.Hour)).meets("odd", 2, noon.Add(-time.Hour+later)), Open, []string{"odd"}, ""},
		"a success much later ends it":          {warm().meets("old", 1, noon).works("new", noon.Add(later)), Closed, nil, ""},
		"what succeeds is not known":            {warm().works("", noon).meets("old", 1, noon).meets("old", 2, noon), Closed, nil, "old"},
		"what is refused is not known":          {warm().works("new", noon).meets("", 1, noon).meets("", 2, noon), Closed, nil, ""},
		"not known, and nobody succeeds":        {warm().meets("", 1, noon).meets("", 2, noon), Open, nil, ""},
		"an unknown success ends it":            {warm().meets("old", 1, noon).works("", noon), Closed, nil, ""},
		"known to be refused, and again":        {refused("a", "b", "c").works("new", noon).meets("b", 1, noon), Closed, []string{"a", "c", "b"}, ""},
		"known to be refused, nobody succeeds":  {refused("a", "b").meets("a", 1, noon), Open, []string{"b", "a"}, ""},
		"one more than are kept":                {refused("a", "b", "c", "d", "e", "f", "g", "h").works("new", noon).meets("i", 1, noon).meets("i", 2, noon), Closed, []string{"b", "c", "d", "e", "f", "g", "h", "i"}, ""},
		"an outage makes room":                  {refused("a", "b", "c", "d", "e", "f", "g", "h").meets("i", 1, noon).meets("i", 2, noon), Open, []string{"e", "f", "g", "h", "i"}, ""},
		"it is good again":                      {refused("a", "b").works("a", noon), Closed, []string{"b"}, ""},
		"a success from before the last change": {refused("a").Report(Report{Generation: -1, Credential: "a", OK: 1}, DefaultRules, noon, 0), Closed, []string{"a"}, ""},
		"a person resumes":                      {refused("a").Resume(noon), Closed, nil, ""},
		"a person resumes after a pause":        {refused("a").Pause(noon).Resume(noon), Closed, nil, ""},
	} {
		if c.b.State != c.state || !slices.Equal(c.b.Refused, c.refused) || c.b.Suspect.Credential != c.suspect {
			t.Errorf("%s: %s, refused %q, suspected %q; want %s, %q, %q", name, c.b.State, c.b.Refused, c.b.Suspect.Credential, c.state, c.refused, c.suspect)
		}
	}
}

func refused(credentials ...string) Breaker {
	b := warm()
	b.Refused = credentials
	return b
}

// A refused model is nobody's credential's fault.
func TestAModelThatIsRefusedParksNobody(t *testing.T) {
	t.Parallel()
	b := warm().works("new", noon)
	for n := range byte(5) {
		b = b.Refuse(Refused{Reason: Configuration, Credential: "old", Job: job(n)}, DefaultRules, noon, 0)
	}
	if b.State != Closed || len(b.Refused) > 0 || b.Suspect.Credential != "" {
		t.Errorf("%+v", b)
	}
}

func TestAnUntriedCredentialProbesAtOnceAndOnce(t *testing.T) {
	t.Parallel()
	b := warm().meets("a", 1, noon).meets("a", 2, noon)
	for _, credential := range []string{"b", "c"} {
		if b.Admits("a", noon) || b.Admits("", noon) || !b.Admits(credential, noon) {
			t.Fatalf("a, unknown and %s: %v, %v, %v", credential, b.Admits("a", noon), b.Admits("", noon), b.Admits(credential, noon))
		}
		out, _ := b.Grant(Probe{ID: job(8), Until: noon.Add(time.Minute)}, credential, noon)
		if out.Admits("d", noon) {
			t.Error("two probes at a time")
		}
		b = b.probes(t, credential, Answer{Reason: Credentials}, noon)
		if b.State != Open || b.Admits(credential, noon) || b.RetryAt.Sub(noon) != DefaultRules.HoldFor {
			t.Errorf("after the probe of %s: %+v", credential, b)
		}
	}
	if at := b.RetryAt; !b.Admits("a", at) || !b.Admits("", at) {
		t.Error("not all may probe when it is time")
	}
	good := b.probes(t, "d", Answer{Alive: true, OK: true}, noon)
	if good.State != Closed || !slices.Equal(good.Refused, []string{"a", "b", "c"}) || good.LastOKBy != "d" {
		t.Errorf("after a probe that succeeded: %+v", good)
	}
	limited := b.probes(t, "a", Answer{Alive: true}, b.RetryAt)
	if limited.State != Closed || slices.Contains(limited.Refused, "a") {
		t.Errorf("after a probe that met a limit: %+v", limited)
	}
}

func TestAnUntriedCredentialDoesNotProbeBeforeItsTimeElse(t *testing.T) {
	t.Parallel()
	held := func(reason Reason) Breaker {
		b := warm()
		for n := range byte(2) {
			b = b.Refuse(Refused{Generation: b.Generation, Reason: reason, Credential: "a", Job: job(n)}, DefaultRules, noon, 0)
		}
		return b
	}
	crowd := held(Credentials)
	for n := range MaxRefused - 1 {
		crowd = crowd.probes(t, fmt.Sprint(n), Answer{Reason: Credentials}, noon)
	}
	for name, b := range map[string]Breaker{
		"failures": tripped(noon), "account": held(Account), "configuration": held(Configuration), "a pause": warm().Pause(noon),
		"a pause of a stop": held(Credentials).Pause(noon), "more refused credentials than are kept": crowd,
	} {
		if b.State != Open || b.Admits("new", noon) {
			t.Errorf("%s: %s, and an untried credential probes: %v", name, b.State, b.Admits("new", noon))
		}
	}
}

// Two workers with two bad keys are both found out, however their refusals mix: each as long as it is refused at least
// once a minute, with one job more than once, but with another one at last.
func TestTwoBadCredentialsDoNotHideEachOther(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		good := rapid.Bool().Draw(t, "a third one is good")
		b, now := warm(), noon
		for n := byte(0); n < 6; n++ {
			for _, credential := range rapid.Permutation([]string{"x", "y"}).Draw(t, "order") {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(19*time.Second)).Draw(t, "pause"))) // three of them are less than a minute
				if good {
					b = b.works("good", now)
				}
				if b.Admits(credential, now) {
					b, _ = b.Grant(Probe{ID: job(9), Until: now.Add(time.Minute)}, credential, now)
					b = b.Answered(Answer{Probe: job(9), Credential: credential, Reason: Credentials}, DefaultRules, now, 0)
				}
				b = b.meets(credential, n/2, now)
			}
		}
		if !slices.Contains(b.Refused, "x") || !slices.Contains(b.Refused, "y") || (b.State == Open) == good {
			t.Fatalf("%s, refused are %q", b.State, b.Refused)
		}
	})
}

// A fleet with one key behaves as if it were not known.
func TestOneCredentialForAllChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		known, unknown, now := New(), New(), noon
		apply := func(step func(b Breaker, credential string) Breaker) {
			known, unknown = step(known.Sane(DefaultRules, now), "a"), step(unknown.Sane(DefaultRules, now), "")
		}
		jobs := rapid.Custom(func(t *rapid.T) uuid.UUID { return job(rapid.ByteRange(0, 3).Draw(t, "job")) })
		t.Repeat(map[string]func(*rapid.T){
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(-int64(time.Minute), int64(2*time.Minute)).Draw(t, "time")))
			},
			"report": func(t *rapid.T) {
				r := Report{Generation: known.Generation - rapid.Int64Range(0, 1).Draw(t, "older"), OK: rapid.IntRange(0, 1).Draw(t, "ok")}
				apply(func(b Breaker, credential string) Breaker {
					r.Credential = credential
					return b.Report(r, DefaultRules, now, 0)
				})
			},
			"refuse": func(t *rapid.T) {
				r := Refused{Generation: known.Generation, Reason: rapid.SampledFrom([]Reason{Credentials, Credentials, Configuration, Account}).Draw(t, "reason"), Job: jobs.Draw(t, "job")}
				apply(func(b Breaker, credential string) Breaker {
					r.Credential = credential
					return b.Refuse(r, DefaultRules, now, 0)
				})
			},
			"probe": func(t *rapid.T) {
				a := Answer{Probe: job(9), Job: jobs.Draw(t, "job"), Alive: rapid.Bool().Draw(t, "alive"), Reason: Credentials}
				a.OK = a.Alive && rapid.Bool().Draw(t, "ok")
				apply(func(b Breaker, credential string) Breaker {
					a.Credential = credential
					b, _ = b.Grant(Probe{ID: job(9), Until: now.Add(time.Minute)}, credential, now)
					return b.Answered(a, DefaultRules, now, 0)
				})
			},
			"pause":  func(*rapid.T) { apply(func(b Breaker, _ string) Breaker { return b.Pause(now) }) },
			"resume": func(*rapid.T) { apply(func(b Breaker, _ string) Breaker { return b.Resume(now) }) },
			"": func(t *rapid.T) {
				if known.State == Closed && len(known.Refused) > 0 {
					t.Fatal("everybody is parked")
				}
				as := known
				as.LastOKBy, as.Suspect.Credential, as.Refused = "", "", unknown.Refused
				if fmt.Sprint(as) != fmt.Sprint(unknown) {
					t.Fatalf("known\n%+v, not known\n%+v", known, unknown)
				}
			},
		})
	})
}
