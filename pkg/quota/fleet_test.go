package quota_test

import (
	"bytes"
	"fmt"
	"testing"
	"text/tabwriter"
	"time"
)

// goal is what a scenario has to reach, over all seeds: shares in percent.
type goal struct {
	scenario
	used, refused, theirs float64 // at least, at most, at most
}

// anything is no goal: the number is only shown.
const anything = 100

// seeds is how often each scenario is run.
func seeds() int {
	if testing.Short() {
		return 1
	}
	return 2
}

// TestFleet runs a fleet whose backlog never ends against a provider, and measures how much of what was there it used and
// how many of its calls were refused. With -v it prints the table.
func TestFleet(t *testing.T) {
	t.Parallel()
	rpm500 := scenario{name: "RPM 500", rpm: 500, tpm: 1e9}
	tpm1M := scenario{name: "TPM 1M", rpm: 1e6, tpm: 1e6}
	tpm30k := scenario{name: "TPM 30k", rpm: 1e6, tpm: 30e3, from: 3 * time.Minute, to: 63 * time.Minute}
	var goals []goal
	add := func(g goal, tells tells, of ...scenario) {
		for _, workers := range []int{4, 16} {
			for _, s := range of {
				s.tells, s.workers, s.neighbour, s.atOneGo = tells, workers, g.neighbour, g.atOneGo
				goals = append(goals, goal{s, g.used, g.refused, g.theirs})
			}
		}
	}
	shared := scenario{neighbour: 0.4}
	for _, headers := range []tells{atFirstByte, atCompletion} {
		add(goal{used: 99, refused: 0.1}, headers, rpm500, tpm1M, tpm30k)
		add(goal{shared, 97, 1, 1}, headers, rpm500, tpm1M)
		add(goal{scenario{neighbour: 0.4, atOneGo: true}, 97, 1, 2}, headers, rpm500, tpm1M)
		// Single calls of somebody else are up to half of this bucket: no client can avoid all refusals.
		add(goal{shared, 97, anything, anything}, headers, tpm30k)
	}
	for _, none := range []tells{bodiesAlone, nothing} {
		add(goal{used: 95, refused: 5}, none, rpm500, tpm1M)
		add(goal{used: 85, refused: 5}, none, tpm30k)
		add(goal{shared, 95, 5, anything}, none, rpm500, tpm1M)
	}
	variant := func(name string, change func(s *scenario)) {
		for _, s := range []scenario{rpm500, tpm1M} {
			s.name, s.tells, s.workers = s.name+", "+name, atFirstByte, 16
			change(&s)
			goals = append(goals, goal{s, 99, 0.1, 1})
		}
	}
	variant("64 workers", func(s *scenario) { s.workers, s.from, s.to = 64, 2*time.Minute, 6*time.Minute })
	variant("chunks for 2 s", func(s *scenario) { s.tau = 2 * time.Second })
	variant("chunks spent at once", func(s *scenario) { s.atOnce = true })
	variant("estimates 30% low", func(s *scenario) { s.bias = -0.3 })
	variant("estimates 50% high", func(s *scenario) { s.bias = 0.5 })
	variant("estimates 20 times as high", func(s *scenario) { s.bias = 19 })

	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "limit\tworkers\tneighbour\treadings\tused %\trefused %\ttheirs refused %\ttakes a call\trefused in 1st minute")
	for _, g := range goals {
		r := g.runs(seeds())
		used, refused, theirs := 100*r.used, 100*r.share429(), 100*float64(r.theirsRefused)/float64(max(1, r.theirs))
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%.2f\t%.2f\t%.2f\t%.1f\t%d\n", g.name, g.workers, g.others(), g.tells,
			used, refused, theirs, float64(r.takes)/float64(r.calls), r.first/seeds())
		if used < g.used || refused > g.refused || theirs > g.theirs {
			t.Errorf("%s, %d workers, neighbour %s, %s: used %.2f%% (want %.1f), refused %.2f%% (want at most %.1f), theirs %.2f%% (%.1f)",
				g.name, g.workers, g.others(), g.tells, used, g.used, refused, g.refused, theirs, g.theirs)
		}
	}
	w.Flush()
	t.Logf("10 min (TPM 30k: 60), %d seeds, 64 slots a worker, chunks for 0.5 s\n%s", seeds(), table.String())
}

// others names the neighbour.
func (s scenario) others() string {
	switch {
	case s.neighbour == 0:
		return "none"
	case s.atOneGo:
		return fmt.Sprintf("%.0f %% at one go", 100*s.neighbour)
	}
	return fmt.Sprintf("%.0f %%", 100*s.neighbour)
}

// runs sums over the seeds.
func (s scenario) runs(seeds int) (sum result) {
	for seed := range uint64(seeds) {
		s.seed = seed
		r := s.run()
		sum.calls += r.calls
		sum.refused += r.refused
		sum.takes += r.takes
		sum.used += r.used / float64(seeds)
		sum.theirs += r.theirs
		sum.theirsRefused += r.theirsRefused
		sum.first += r.first
		sum.followedAfter = max(sum.followedAfter, r.followedAfter)
		sum.followedObs = max(sum.followedObs, r.followedObs)
		if r.followedAfter < 0 {
			sum.lost++
		}
	}
	return sum
}

// TestFleetFollowsALimit doubles and halves the limits of a busy key. Headers tell at once; without them the fleet finds
// a lower limit by the next refusal, and a higher one within a minute, as the assumed refill grows while nothing is refused.
func TestFleetFollowsALimit(t *testing.T) {
	t.Parallel()
	for _, s := range []scenario{{name: "RPM 500", rpm: 500, tpm: 1e9}, {name: "TPM 1M", rpm: 1e6, tpm: 1e6}} {
		for _, s.change = range []float64{2, 0.5} {
			for _, s.tells = range []tells{atFirstByte, atCompletion, bodiesAlone, nothing} {
				s.workers, s.changeAt = 16, 5*time.Minute
				s.from, s.to = 6*time.Minute, 10*time.Minute
				r := s.runs(3)
				t.Logf("%s x %.1f, %s: limit known after %s by observation %d; minutes 1 to 5 after: used %.1f %%, refused %.2f %%",
					s.name, s.change, s.tells, r.followedAfter.Round(time.Millisecond), r.followedObs, 100*r.used, 100*r.share429())
				headers := s.tells == atFirstByte || s.tells == atCompletion
				switch {
				case s.tells != nothing && r.lost > 0:
					t.Errorf("%s x %.1f, %s: never followed", s.name, s.change, s.tells)
				case headers && r.followedObs != 1:
					t.Errorf("%s x %.1f, %s: followed by observation %d, want the first", s.name, s.change, s.tells, r.followedObs)
				case s.tells == bodiesAlone && r.followedAfter > time.Minute:
					t.Errorf("%s x %.1f, %s: followed after %s", s.name, s.change, s.tells, r.followedAfter)
				}
				if least := map[bool]float64{true: 0.99, false: 0.95}[headers]; r.used < least {
					t.Errorf("%s x %.1f, %s: used %.3f from a minute after it, want %.2f", s.name, s.change, s.tells, r.used, least)
				}
			}
		}
	}
}
