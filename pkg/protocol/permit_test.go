package protocol

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicedev/sluice/pkg/quota"
)

// Permits: chunks of calls that workers buy of a quota, and may die with. The quota is the real one, of pkg/quota. The
// bucket refills within a month, so what is leaked is not made up for by waiting: only an answer can tell.

const (
	bucket = 60 // calls
	chunk  = 4  // at most
	tau    = 500 * time.Millisecond
)

// purse is a worker's chunk.
type purse struct {
	granted time.Time
	bought  int
	left    int
}

// due tells whether the next call of the chunk goes: they are spread over the time until the next one.
func (p purse) due(now time.Time) bool {
	return p.left > 0 && !now.Before(p.granted.Add(tau*time.Duration(p.bought-p.left)/time.Duration(p.bought)))
}

// answer is one of the provider's on its way.
type answer struct {
	admitted time.Time
	left     int
}

// shop is a provider, the fleet's quota of it, and the workers.
type shop struct {
	now     time.Time
	quota   quota.Quota
	left    int // in the provider's bucket
	purses  [workers]purse
	answers []answer
	leaked  time.Time // up to when permits of the dead are booked
	deaf    bool      // the broken variant: the first answer anchors the level, and no other
	story   []string
}

func (s *shop) tell(format string, args ...any) {
	s.story = append(s.story, fmt.Sprintf("%3d. %4d ms: ", len(s.story)+1, s.now.Sub(now).Milliseconds())+fmt.Sprintf(format, args...))
}

// run lets chance decide what happens, and returns what was wrong.
func (s *shop) run(chance func(n int) int) (wrong string) {
	s.now, s.left = now, bucket
	s.observe(answer{s.now, bucket})
	s.now = s.now.Add(time.Second)
	for range 120 {
		w := chance(workers)
		p := &s.purses[w]
		switch chance(6) {
		case 0, 1:
			s.buy(w, 1+chance(chunk))
		case 2:
			if p.left > 0 {
				s.tell("worker %c dies with %d permits", 'A'+w, p.left)
				s.leaked, *p = p.granted.Add(tau+quota.Slot), purse{}
			}
		case 3:
			s.quota = s.quota.Return(p.left, 0, p.granted, s.now)
			*p = purse{}
		case 4:
			if wrong := s.hear(chance); wrong != "" {
				return wrong
			}
		default:
			s.pass(1 + chance(10))
		}
		if s.left < -workers*chunk {
			return "more calls go than the bucket holds"
		}
	}
	return ""
}

func (s *shop) buy(w, n int) {
	if s.purses[w].left > 0 {
		return
	}
	var g quota.Grant
	s.quota, g = s.quota.Take(quota.Ask{Requests: n, Workers: workers, Tau: tau}, s.now)
	if g.Requests > 0 {
		s.tell("worker %c buys %d permits", 'A'+w, g.Requests)
	}
	s.purses[w] = purse{g.At, g.Requests, g.Requests}
}

// pass lets time go by, in which every call goes when it is due.
func (s *shop) pass(steps int) {
	for range steps {
		s.now = s.now.Add(50 * time.Millisecond)
		for w := range s.purses {
			if p := &s.purses[w]; p.due(s.now) {
				p.left--
				s.left--
				s.answers = append(s.answers, answer{s.now, max(0, s.left)})
			}
		}
	}
}

// hear is the arrival of an answer that is not too old to tell. One that was admitted after the dead were to spend their
// permits is of a bucket that these were never taken from: nothing is left of the leak.
func (s *shop) hear(chance func(n int) int) (wrong string) {
	if len(s.answers) == 0 {
		return ""
	}
	a := s.answers[len(s.answers)-1-chance(min(2, len(s.answers)))]
	s.tell("an answer says that %d are left", a.left)
	if !s.deaf {
		s.observe(a)
	}
	held := s.purses[0].left + s.purses[1].left
	level := s.quota.Limits[quota.Requests].Level
	if a.admitted.After(s.leaked) && s.left >= 0 && level < float64(s.left-held)-0.5 {
		return fmt.Sprintf("the level is %.1f, while %d calls are left and the living hold %d of them", level, s.left, held)
	}
	return ""
}

func (s *shop) observe(a answer) {
	var o quota.Observation
	o.Age = s.now.Sub(a.admitted)
	o.Readings[quota.Requests] = quota.Reading{Limit: bucket, Remaining: float64(a.left), Reset: month * time.Duration(bucket-a.left) / bucket}
	s.quota = s.quota.Observe(o, s.now)
	l := &s.quota.Limits[quota.Requests]
	l.Window = month // a full bucket does not tell how long it takes to fill
}

const month = 30 * 24 * time.Hour

// TestALeakedGrantMattersUntilTheNextAnswer lets workers die with unspent permits at random.
func TestALeakedGrantMattersUntilTheNextAnswer(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		s := &shop{}
		wrong := s.run(func(n int) int { return rapid.IntRange(0, n-1).Draw(r, "chance") })
		if wrong != "" {
			r.Fatal(append(s.story, wrong))
		}
	})
}

// Permits of the dead that never come back, and answers that do not tell: the level stays down for ever.
func TestBrokenPermits(t *testing.T) {
	t.Parallel()
	var story []string
	found := 0
	for seed := range uint64(500) {
		s := &shop{deaf: true}
		if wrong := s.run(rand.New(rand.NewPCG(seed, 0)).IntN); wrong != "" {
			found++
			if story == nil || len(s.story) < len(story) {
				story = append(s.story, "  => "+wrong)
			}
		}
	}
	if found == 0 {
		t.Fatal("nothing was found")
	}
	t.Logf("found in %d of 500 stories, the shortest of them:", found)
	for _, line := range story {
		t.Log(line)
	}
}
