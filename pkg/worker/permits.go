package worker

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/jobtype"
	"github.com/sluicedev/sluice/pkg/quota"
	"github.com/sluicedev/sluice/pkg/upstream"
)

// Permits say how many calls this worker may start on an upstream whose quota is known, or whose pace is held down. They
// are bought in chunks by a visit and live short: what a claim found no job for goes back. Claims are separate statements,
// bounded by the permits held, and wait for nobody's visit.

const (
	// visitEvery is the pace of a worker's visits to an upstream, by which it buys permits and brings what its calls met:
	// a little slower than two transactions a second. One that had to swap twice, because somebody else was faster, counts
	// as two. Only failures do not wait for it.
	visitEvery = 550 * time.Millisecond

	// firstGuess of a call's tokens stands until the first job was claimed.
	firstGuess = 1000.0
	// learning is the weight of each job in a mean.
	learning = 0.1
	// The shares of the mean that are booked for a call at least and at most, whatever was booked before. What is owed
	// beyond that is left for later chunks: at one go it could be more than the limit.
	leastShare, mostShare = 0.1, 2
)

// purse is what is left of a grant.
type purse struct {
	requests int
	bought   int
	tokens   float64   // booked for each call
	granted  time.Time // Grant.At, by the database's clock: the grant's name
	began    time.Time // on this worker's clock, as is
	until    time.Time // when the rest goes back
}

// permit is for one call. The zero permit is for a call that needs none.
type permit struct {
	tokens    float64
	granted   time.Time
	notBefore time.Time // calls of a chunk are spread over the time until the next one
}

// permitted is how many of n calls may be claimed now: as many as there are permits, after asking for some if there are
// none and it is time. 0: the claimer is woken when it is.
func (l *life) permitted(ctx context.Context, line *line, n int) int {
	l.mu.Lock()
	now := time.Now()
	if !line.paced || !line.status.Paced {
		l.mu.Unlock()
		return n
	}
	if line.purse.requests > 0 && now.Before(line.purse.until) {
		defer l.mu.Unlock()
		return min(n, line.purse.requests)
	}
	if now.Before(line.askAt) {
		defer l.mu.Unlock()
		l.wakeAt(line, line.askAt)
		return 0
	}
	ask := quota.Ask{Requests: n, TokensEach: line.booking(n), Workers: max(l.fleet, 1), Tau: visitEvery, Delay: line.delay}
	l.mu.Unlock()
	bought := l.reporter.take(ctx, line, ask)

	l.mu.Lock()
	defer l.mu.Unlock()
	now = time.Now()
	line.askAt = now.Add(max(time.Until(line.visitAt), spread(bought.Wait)))
	line.purse = purse{
		requests: bought.Requests, bought: bought.Requests, tokens: ask.TokensEach, granted: bought.At,
		began: now, until: now.Add(bought.For),
	}
	if bought.Requests == 0 {
		l.wakeAt(line, line.askAt)
	}
	return min(n, bought.Requests)
}

// wakeAt wakes the claimer for a line when it may ask again. The caller holds the mutex.
func (l *life) wakeAt(line *line, at time.Time) {
	if line.alarm {
		return
	}
	line.alarm = true
	time.AfterFunc(time.Until(at), func() {
		l.mu.Lock()
		line.alarm, line.hot = false, true
		l.mu.Unlock()
		nudge(l.wake)
	})
}

// weigh estimates what a claimed job's call will cost, and lets the line's mean follow.
func (l *life) weigh(a *attempt) {
	if !a.line.paced {
		return
	}
	cost := a.jobType.Cost(a.job.Payload)
	if cost == (jobtype.Cost{}) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	a.cost, a.estimate = cost, l.estimates[a.jobType.Name].of(cost)
	a.line.learnCost(a.estimate)
}

// spend takes the permit for one claimed job out of the purse. By how much its cost differs from what was booked is made
// up for by the next chunk.
func (l *life) spend(a *attempt) permit {
	l.weigh(a)
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &a.line.purse
	if p.requests == 0 || a.probe != uuid.Nil {
		return permit{} // it needs none
	}
	if a.estimate > 0 {
		a.line.owe(a.estimate - p.tokens)
	}
	nth := p.bought - p.requests
	p.requests--
	return permit{tokens: p.tokens, granted: p.granted, notBefore: p.began.Add(visitEvery * time.Duration(nth) / time.Duration(p.bought))}
}

// closePurses ends the time of all permits: the worker stops, starts no more calls, and pays its last visit at once.
func (l *life) closePurses() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		line.purse.until, line.visitAt = time.Time{}, time.Time{}
	}
}

// rest empties a purse whose time is over, or whose worker stops, and says what goes back: not while a claim is under way,
// whose jobs will need the permits. The caller holds the mutex.
func (line *line) rest(now time.Time) (upstream.Unspent, bool) {
	p := line.purse
	if p.requests == 0 || now.Before(p.until) || line.claiming {
		return upstream.Unspent{}, false
	}
	line.purse = purse{}
	return upstream.Unspent{Requests: p.requests, Tokens: float64(p.requests) * p.tokens, Granted: p.granted}, true
}

// learnCost follows what the line's calls cost on average.
func (line *line) learnCost(tokens float64) {
	if line.tokens == 0 {
		line.tokens = tokens
		return
	}
	line.tokens += learning * (tokens - line.tokens)
}

func (line *line) mean() float64 {
	if line.tokens == 0 {
		return firstGuess
	}
	return line.tokens
}

// booking is what to book for each of n calls: the mean, and what is owed for those before.
func (line *line) booking(n int) float64 {
	mean := line.mean()
	return min(max(mean+line.owed/float64(max(n, 1)), leastShare*mean), mostShare*mean)
}

// owe notes tokens that were used beyond what was booked, or below 0 booked beyond what was used: at most those of one chunk,
// for what is further back the provider's answers have told since.
func (line *line) owe(tokens float64) {
	most := line.mean() * float64(max(line.purse.bought, 1))
	line.owed = min(max(line.owed+tokens, -most), most)
}

// late notes how much later than its permit allowed a call started: the next ones are booked for then.
func (line *line) late(by time.Duration) {
	line.delay += time.Duration(learning * float64(by-line.delay))
}

// spread lengthens a wait by up to a twentieth, so that workers that were told the same do not come back together.
func spread(d time.Duration) time.Duration {
	return d + time.Duration(rand.Float64()*float64(d)/20)
}
