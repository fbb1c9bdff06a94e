package llmtest

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Simulator is the provider, as an http.Handler. All its methods may be called at any time from anywhere.
type Simulator struct {
	mux    *http.ServeMux
	clock  func() time.Time
	began  time.Time
	decide func(Call) string
	bodies bool     // kept in the log
	pages  []string // origins of web pages that may switch scenes

	mu     sync.Mutex
	script Script
	usual  Script // what it was made or told to be, whatever scene is on
	scene  string // "": none was chosen yet
	random *rand.Rand

	quota   quota
	calls   calls
	first   gate // before the first byte
	midway  gate // after the first event
	closing chan struct{}
	close   func()
}

// Option configures a simulator as it is made.
type Option func(*Simulator)

// WithScript sets the behaviour to begin with.
func WithScript(script Script) Option { return func(s *Simulator) { s.script = script } }

// WithSeed makes another sequence of random errors and jitter; the same seed gives the same sequence.
func WithSeed(seed uint64) Option {
	return func(s *Simulator) { s.random = rand.New(rand.NewPCG(seed, seed)) }
}

// WithClock replaces the clock by which buckets refill and calls are logged. Latencies stay real.
func WithClock(now func() time.Time) Option { return func(s *Simulator) { s.clock = now } }

// KeepBodies keeps every request body in the log of calls.
func KeepBodies() Option { return func(s *Simulator) { s.bodies = true } }

// ServePages lets web pages of these origins, and nobody else, switch scenes at /control/mode.
func ServePages(origins ...string) Option { return func(s *Simulator) { s.pages = origins } }

// MaxCalls sets how many calls the log keeps, at least 1.
func MaxCalls(n int) Option { return func(s *Simulator) { s.calls.keep = max(1, n) } }

// Decide chooses the mode of each call; "" leaves it to the request and the script. It is called as a call arrives, by
// many goroutines at once.
func Decide(mode func(Call) string) Option { return func(s *Simulator) { s.decide = mode } }

// New makes a simulator. It panics when its script is invalid.
func New(options ...Option) *Simulator {
	closing := make(chan struct{})
	s := &Simulator{
		mux:     http.NewServeMux(),
		clock:   time.Now,
		decide:  func(Call) string { return "" },
		calls:   calls{keep: maxCalls, counts: Counts{ByStatus: map[int]int{}}},
		closing: closing,
		close:   sync.OnceFunc(func() { close(closing) }),
	}
	WithSeed(1)(s)
	for _, option := range options {
		option(s)
	}
	if err := s.script.validate(); err != nil {
		panic("llmtest: " + err.Error())
	}
	s.usual = s.script
	s.began = s.clock()
	s.routes()
	return s
}

// Script is the present behaviour.
func (s *Simulator) Script() Script {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.script
}

// Set changes the behaviour for the calls that arrive from now on. It panics when the new script is invalid, which is a
// mistake in the test.
func (s *Simulator) Set(change func(*Script)) {
	if err := s.change(func(script *Script) error { change(script); return nil }); err != nil {
		panic("llmtest: " + err.Error())
	}
}

// SetMode changes what happens to the calls that arrive from now on.
func (s *Simulator) SetMode(mode string) { s.Set(func(script *Script) { script.Mode = mode }) }

// Change replaces the script, or says what is wrong with the new one and keeps the old.
func (s *Simulator) Change(script Script) error {
	return s.change(func(old *Script) error {
		*old, s.usual = script, script
		return nil
	})
}

func (s *Simulator) change(change func(*Script) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	script := s.script
	if err := change(&script); err != nil {
		return err
	}
	if err := script.validate(); err != nil {
		return err
	}
	s.script = script
	return nil
}

// Hold keeps every call from now on in flight, before the first byte of its answer, until Release. What the answer will
// be is decided as the call arrives.
func (s *Simulator) Hold() { s.first.shut() }

// HoldMidway keeps every stream from now on in flight after its first event, until Release.
func (s *Simulator) HoldMidway() { s.midway.shut() }

// Release lets all held calls go on, and later ones pass.
func (s *Simulator) Release() {
	s.first.open()
	s.midway.open()
}

// Levels is what is left of the quota of each model that was called.
func (s *Simulator) Levels() map[string]Level { return s.quota.levels(s.Script(), s.clock()) }

func (s *Simulator) since() time.Duration { return s.clock().Sub(s.began) }

// chance is true with probability p.
func (s *Simulator) chance(p float64) bool {
	if p == 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.Float64() < p
}

// latency draws the time before the first byte.
func (s *Simulator) latency(script Script) time.Duration {
	ms := script.LatencyMS
	if script.JitterMS > 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		ms += s.random.Int64N(script.JitterMS + 1)
	}
	return time.Duration(ms) * time.Millisecond
}

// gate is a door that a test shuts and opens; the zero value is open.
type gate struct {
	mu     sync.Mutex
	opened chan struct{} // nil while open
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened == nil {
		g.opened = make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened != nil {
		close(g.opened)
		g.opened = nil
	}
}

// door is closed when the gate opens; nil when it is open.
func (g *gate) door() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.opened
}
