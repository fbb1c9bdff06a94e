package queue

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sluicedev/sluice/pkg/pg"
)

// ReadyChannel is where new work is notified, with its line. It is only a faster way to learn what Waiting tells.
const ReadyChannel = "sluice_ready"

// StateChannel is where it is notified that jobs have changed their states, without a word of which: a drain would else be
// thousands of notifications a second. Whoever watches jobs looks at all of them. It is only a faster way to learn what
// News tells.
const StateChannel = "sluice_states"

// The least time between two notifications of a process. A notification inside the commit of what it tells of would make
// commits wait for each other, so it is sent afterwards, in a transaction of its own, and seldom.
const (
	readyPause = time.Millisecond
	statePause = 100 * time.Millisecond
)

// bellLimit is how long a notification may take.
const bellLimit = 5 * time.Second

// Bell notifies other processes.
type Bell struct {
	db      pg.DB
	log     *slog.Logger
	channel string
	pause   time.Duration

	mu    sync.Mutex
	words map[string]bool
	rung  chan struct{}
	turn  chan struct{} // whoever sends has it, and until the pause after it is over
}

// NewBell gives the bell that tells workers of new work. It is silent until Run.
func NewBell(db pg.DB, log *slog.Logger) *Bell { return newBell(db, log, ReadyChannel, readyPause) }

// NewStateBell gives the bell that tells whoever watches jobs that some have changed. It is silent until Run.
func NewStateBell(db pg.DB, log *slog.Logger) *Bell {
	return newBell(db, log, StateChannel, statePause)
}

func newBell(db pg.DB, log *slog.Logger, channel string, pause time.Duration) *Bell {
	return &Bell{db: db, log: log, channel: channel, pause: pause, words: map[string]bool{},
		rung: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
}

// Ring says that there is something to tell: the lines that have new work; "" of states. It returns at once.
func (b *Bell) Ring(words ...string) {
	if len(words) == 0 {
		return
	}
	b.note(words)
	select {
	case b.rung <- struct{}{}:
	default:
	}
}

// ringHere is Ring by the caller's own goroutine, if it is time: it spares the notification the way to another one.
func (b *Bell) ringHere(ctx context.Context, words ...string) {
	if len(words) == 0 {
		return
	}
	select {
	case b.turn <- struct{}{}:
	default:
		b.Ring(words...)
		return
	}
	b.note(words)
	b.send(ctx)
	time.AfterFunc(b.pause, func() { <-b.turn })
}

func (b *Bell) note(words []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, word := range words {
		b.words[word] = true
	}
}

// Run sends what was rung until ctx ends: the first at once. A notification that fails is dropped: everybody polls.
func (b *Bell) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.rung:
		}
		select {
		case <-ctx.Done():
			return
		case b.turn <- struct{}{}:
		}
		b.send(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(b.pause):
		}
		<-b.turn
	}
}

func (b *Bell) take() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	words := slices.Collect(maps.Keys(b.words))
	clear(b.words)
	return words
}

// A notification is a transaction that writes, if only to memory: nobody has to wait for the disk for it.
const bellSQL = `select pg_notify($1, word), set_config('synchronous_commit', 'off', true) from unnest($2::text[]) word`

func (b *Bell) send(ctx context.Context) {
	words := b.take()
	if len(words) == 0 {
		return // somebody else sent them
	}
	limited, cancel := context.WithTimeout(ctx, bellLimit)
	defer cancel()
	if _, err := b.db.Exec(limited, bellSQL, b.channel, words); err != nil && ctx.Err() == nil {
		b.log.Warn("a notification could not be sent; polling finds what it told of", "channel", b.channel, "error", err)
	}
}
