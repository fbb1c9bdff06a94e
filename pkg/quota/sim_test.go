package quota_test

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"time"

	"github.com/sluicedev/sluice/pkg/quota"
)

// A discrete-event simulation of a fleet that shares one Quota, against a provider that counts as providers say they do.
// Time is virtual: ten minutes of a fleet take a fraction of a second.

// start is when every test begins.
var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// tells says where a provider's readings are to be had.
type tells string

const (
	atFirstByte  tells = "headers at first byte"
	atCompletion tells = "headers at completion"
	bodiesAlone  tells = "bodies of 429s alone"
	nothing      tells = "nothing"
)

// scenario is one run. Numbers are by the minute.
type scenario struct {
	name      string
	rpm, tpm  float64
	workers   int
	tells     tells
	neighbour float64 // share of the limits that somebody else uses, in bursts
	atOneGo   bool    // its bursts are a moment each half minute, instead of seconds of work between seconds of rest
	tau       time.Duration
	atOnce    bool // workers spend a chunk at once instead of over tau
	bias      float64
	from, to  time.Duration // measured in between
	seed      uint64

	// At changeAt the limits are multiplied by change.
	changeAt time.Duration
	change   float64
}

type result struct {
	calls, refused, takes int
	used                  float64 // of what others left of the scarcer dimension
	theirs, theirsRefused int
	followedAfter         time.Duration // the change of the limits; negative: never
	followedObs           int           // observations admitted after the change that it took
	lost                  int           // runs that never followed
	first                 int           // refusals of the first minute
}

func (r result) share429() float64 { return float64(r.refused) / float64(max(1, r.calls)) }

// bucket is the provider's truth.
type bucket struct {
	limit, level float64
	at           time.Time
}

func (b *bucket) rate() float64 { return b.limit / 60 }

func (b *bucket) advance(now time.Time) {
	b.level = min(b.limit, b.level+b.rate()*now.Sub(b.at).Seconds())
	b.at = now
}

func (b *bucket) reading() quota.Reading {
	remaining := math.Floor(max(0, b.level))
	reset := time.Duration((b.limit - b.level) / b.limit * 60 * float64(time.Second)).Round(time.Millisecond)
	return quota.Reading{Limit: b.limit, Remaining: remaining, Reset: reset}
}

type provider struct{ requests, tokens bucket }

// admit charges a call, or refuses it: a refused call costs its request.
func (p *provider) admit(tokens float64, now time.Time) (said quota.Said, ok bool) {
	p.requests.advance(now)
	p.tokens.advance(now)
	refuse := func(d quota.Dimension, b *bucket, cost float64) quota.Said {
		p.requests.level = max(0, p.requests.level-1)
		used := math.Ceil(b.limit - b.level)
		wait := (used + cost - b.limit) / b.rate()
		return quota.Said{Dimension: d, Limit: b.limit, Used: used, Requested: cost,
			Wait: time.Duration(wait * float64(time.Second)).Round(time.Millisecond)}
	}
	if p.requests.level < 1 {
		return refuse(quota.Requests, &p.requests, 1), false
	}
	if p.tokens.level < tokens {
		return refuse(quota.Tokens, &p.tokens, tokens), false
	}
	p.requests.level--
	p.tokens.level -= tokens
	return quota.Said{}, true
}

type event struct {
	at  time.Time
	seq int
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}

type simulation struct {
	scenario
	rnd      *rand.Rand
	now      time.Time
	seq      int
	events   events
	provider provider
	quota    quota.Quota
	result   result

	ourTokens, ourCalls     float64
	theirTokens, theirCalls float64
	asked, heard            bool // the cold start: one call goes, and the others when it was answered
}

const slotsPerWorker = 64

func (s scenario) run() result {
	if s.tau == 0 {
		s.tau = 500 * time.Millisecond
	}
	if s.to == 0 {
		s.from, s.to = 2*time.Minute, 12*time.Minute
	}
	sim := &simulation{scenario: s, rnd: rand.New(rand.NewPCG(s.seed, 7)), now: start}
	sim.result.followedAfter = -1
	sim.provider = provider{bucket{s.rpm, s.rpm, start}, bucket{s.tpm, s.tpm, start}}
	for range s.workers {
		w := &worker{s: sim, free: slotsPerWorker}
		sim.after(time.Duration(sim.rnd.Float64()*float64(s.tau)), w.take)
	}
	switch {
	case s.atOneGo:
		sim.after(15*time.Second, sim.neighbourBursts)
	case s.neighbour > 0:
		sim.after(time.Second, sim.neighbourRests)
	}
	if s.change > 0 {
		sim.after(s.changeAt, func() {
			for _, b := range []*bucket{&sim.provider.requests, &sim.provider.tokens} {
				b.advance(sim.now)
				b.limit *= s.change
				b.level = min(b.level, b.limit)
			}
		})
	}
	for len(sim.events) > 0 && sim.events[0].at.Before(start.Add(s.to)) {
		e := heap.Pop(&sim.events).(event)
		sim.now = e.at
		e.do()
	}
	r := sim.result
	seconds := (s.to - s.from).Seconds()
	r.used = max(sim.ourTokens/(sim.provider.tokens.rate()*seconds-sim.theirTokens),
		sim.ourCalls/(sim.provider.requests.rate()*seconds-sim.theirCalls))
	return r
}

func (s *simulation) after(d time.Duration, do func()) {
	s.seq++
	heap.Push(&s.events, event{s.now.Add(max(0, d)), s.seq, do})
}

func (s *simulation) measured() bool { return s.now.Sub(start) >= s.from }

// between is a random time.
func (s *simulation) between(low, high time.Duration) time.Duration {
	return low + time.Duration(s.rnd.Float64()*float64(high-low))
}

// logNormal has the given mean.
func (s *simulation) logNormal(mean, sigma float64) float64 {
	return mean * math.Exp(sigma*s.rnd.NormFloat64()-sigma*sigma/2)
}

// cost of a call in tokens: 4,000 on average, sometimes 16,000.
func (s *simulation) cost() float64 { return math.Ceil(min(max(s.logNormal(4000, 0.8), 100), 16000)) }

// The neighbour works half of the time, at twice its share.
func (s *simulation) neighbourRests() {
	s.after(time.Duration(s.logNormal(5, 0.5)*float64(time.Second)), func() {
		s.neighbourWorks(s.now.Add(time.Duration(s.logNormal(5, 0.5) * float64(time.Second))))
	})
}

func (s *simulation) neighbourWorks(until time.Time) {
	if s.now.After(until) {
		s.neighbourRests()
		return
	}
	s.neighbourCalls()
	s.after(time.Duration(s.rnd.ExpFloat64()/(2*s.neighbourPace())*float64(time.Second)), func() { s.neighbourWorks(until) })
}

// Or it makes all its calls of half a minute at once.
func (s *simulation) neighbourBursts() {
	for range int(s.neighbourPace() * 30) {
		s.neighbourCalls()
	}
	s.after(30*time.Second, s.neighbourBursts)
}

// neighbourPace is its calls a second.
func (s *simulation) neighbourPace() float64 {
	return s.neighbour * min(s.provider.requests.rate(), s.provider.tokens.rate()/4000)
}

func (s *simulation) neighbourCalls() {
	cost := s.cost()
	_, ok := s.provider.admit(cost, s.now)
	if s.measured() {
		s.result.theirs++
		if ok {
			s.theirTokens += cost
			s.theirCalls++
		} else {
			s.result.theirsRefused++
			s.theirCalls++ // a refused call costs its request
		}
	}
}

type job struct{ cost, estimate float64 }

// worker takes a chunk every tau, or when the hint is over, and spends it over tau.
type worker struct {
	s        *simulation
	free     int
	backlog  []job
	unspent  int
	tokens   float64
	grant    quota.Grant
	seen     *quota.Observation
	seenAt   time.Time // admission
	unread   int
	estimate float64 // booked for each call of the grant
}

func (w *worker) take() {
	s := w.s
	s.result.takes++
	if w.unspent > 0 || w.tokens > 0 {
		s.quota = s.quota.Return(w.unspent, w.tokens, w.grant.At, s.now)
		w.unspent, w.tokens = 0, 0
	}
	if w.seen != nil {
		w.seen.Age = s.now.Sub(w.seenAt)
		s.quota = s.quota.Observe(*w.seen, s.now)
		s.followed(w.seenAt)
		w.seen = nil
	}
	if w.unread > 0 {
		s.quota = s.quota.Unread(w.unread, s.now)
		w.unread = 0
	}
	for len(w.backlog) < w.free {
		cost := s.cost()
		w.backlog = append(w.backlog, job{cost, max(1, cost*(1+s.bias)*(1+0.15*s.rnd.NormFloat64()))})
	}
	next := time.Duration(float64(s.tau) * (0.9 + 0.2*s.rnd.Float64()))
	if w.free > 0 {
		next = max(next, w.start())
	}
	s.after(next, w.take)
}

// start spends what it is granted and returns the hint.
func (w *worker) start() time.Duration {
	s := w.s
	if !s.heard {
		if !s.asked {
			s.asked = true
			w.send(quota.Grant{At: s.now}, 0)
		}
		return 0
	}
	if !s.quota.Needed(s.now) {
		for range w.free {
			w.send(quota.Grant{At: s.now}, 0)
		}
		return 0
	}
	w.estimate = 0
	for _, j := range w.backlog[:w.free] {
		w.estimate += j.estimate / float64(w.free)
	}
	w.estimate = math.Ceil(max(w.estimate, w.backlog[0].estimate))
	s.quota, w.grant = s.quota.Take(quota.Ask{Requests: w.free, TokensEach: w.estimate, Workers: s.workers, Tau: s.tau}, s.now)
	w.unspent, w.tokens = w.grant.Requests, w.grant.Tokens
	for i := range w.grant.Requests {
		delay := s.tau * time.Duration(i) / time.Duration(w.grant.Requests)
		if s.atOnce {
			delay = 0
		}
		grant := w.grant
		s.after(delay, func() {
			if w.unspent > 0 && w.grant.At.Equal(grant.At) && w.free > 0 && w.backlog[0].estimate <= w.tokens {
				w.unspent--
				w.tokens -= w.backlog[0].estimate
				w.send(grant, w.backlog[0].estimate)
			}
		})
	}
	if w.grant.Requests > 0 {
		return 0
	}
	return w.grant.Wait + time.Duration(s.rnd.Float64()*0.05*float64(w.grant.Wait))
}

// send makes one call. The worker believes that it is admitted 80 ms after it was sent.
func (w *worker) send(grant quota.Grant, booked float64) {
	s := w.s
	j := w.backlog[0]
	w.backlog = w.backlog[1:]
	w.free--
	sent := s.now
	s.after(s.between(40*time.Millisecond, 120*time.Millisecond), func() {
		said, ok := s.provider.admit(j.cost, s.now)
		s.count(j, ok)
		if !ok {
			s.after(s.between(40*time.Millisecond, 120*time.Millisecond), func() { w.refused(grant, booked, said) })
			return
		}
		headers := [quota.Dimensions]quota.Reading{s.provider.requests.reading(), s.provider.tokens.reading()}
		firstByte := time.Duration(s.logNormal(0.6, 0.5) * float64(time.Second))
		end := max(firstByte, time.Duration(s.logNormal(6, 0.5)*float64(time.Second)))
		switch s.tells {
		case atFirstByte:
			s.after(firstByte, func() { w.observe(headers, sent.Add(80*time.Millisecond)) })
		case atCompletion:
			s.after(end, func() { w.observe(headers, sent.Add(80*time.Millisecond)) })
		default:
			s.after(end, func() { w.unread++ })
		}
		s.after(end, func() {
			w.free++
			s.heard = true
		})
	})
}

func (w *worker) observe(headers [quota.Dimensions]quota.Reading, admitted time.Time) {
	if !w.s.heard {
		w.s.quota = w.s.quota.Observe(quota.Observation{Readings: headers, Age: w.s.now.Sub(admitted)}, w.s.now)
		w.s.heard = true
	}
	if w.seen == nil || admitted.After(w.seenAt) {
		w.seen, w.seenAt = &quota.Observation{Readings: headers}, admitted
	}
}

// refused is reported at once.
func (w *worker) refused(grant quota.Grant, booked float64, said quota.Said) {
	s := w.s
	w.free++
	r := quota.Refusal{Granted: grant.At, Tokens: booked, Age: 80 * time.Millisecond, Said: said}
	if s.tells == nothing {
		r.RetryAfter, r.Said = said.Wait, quota.Said{}
	}
	s.quota = s.quota.Refused(r, s.now)
	s.followed(s.now.Add(-r.Age))
}

func (s *simulation) count(j job, ok bool) {
	if !s.measured() {
		if !ok && s.now.Sub(start) < time.Minute {
			s.result.first++
		}
		return
	}
	s.result.calls++
	if ok {
		s.ourTokens += j.cost
		s.ourCalls++
	} else {
		s.result.refused++
	}
}

// followed notes when the change of the limits was learned.
func (s *simulation) followed(admitted time.Time) {
	changed := start.Add(s.changeAt)
	if s.change == 0 || s.result.followedAfter >= 0 || admitted.Before(changed.Add(50*time.Millisecond)) {
		return
	}
	s.result.followedObs++
	for d, b := range map[quota.Dimension]*bucket{quota.Requests: &s.provider.requests, quota.Tokens: &s.provider.tokens} {
		if s.quota.Limits[d].Known() && s.quota.Limits[d].Limit == b.limit {
			s.result.followedAfter = s.now.Sub(changed)
		}
	}
}
