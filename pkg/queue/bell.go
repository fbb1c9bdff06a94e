package queue

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/sluicedev/sluice/pkg/pg"
)

// ReadyChannel is where new work is notified, with its line. It is only a faster way to learn what Waiting tells.
const ReadyChannel = "sluice_ready"

// bellPause is the least time between two notifications of a process. A notification inside the enqueue's own commit
// would make commits wait for each other, so it is sent afterwards, in a transaction of its own, and seldom.
const bellPause = time.Millisecond

// Bell tells workers of new work.
type Bell struct {
	db  pg.DB
	log *slog.Logger

	mu    sync.Mutex
	lines map[string]bool
	rung  chan struct{}
}

// NewBell gives a bell that is silent until Run.
func NewBell(db pg.DB, log *slog.Logger) *Bell {
	return &Bell{db: db, log: log, lines: map[string]bool{}, rung: make(chan struct{}, 1)}
}

// Ring says that a line has new work. It returns at once.
func (b *Bell) Ring(line string) {
	b.mu.Lock()
	b.lines[line] = true
	b.mu.Unlock()
	select {
	case b.rung <- struct{}{}:
	default:
	}
}

// Run sends what was rung until ctx ends. A notification that fails is dropped: workers poll.
func (b *Bell) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.rung:
		}
		if err := b.send(ctx, b.take()); err != nil && ctx.Err() == nil {
			b.log.Warn("new work could not be notified; workers find it by polling", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(bellPause):
		}
	}
}

func (b *Bell) take() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	lines := make([]string, 0, len(b.lines))
	for line := range b.lines {
		lines = append(lines, line)
	}
	clear(b.lines)
	return lines
}

// A notification is a transaction that writes, if only to memory: nobody has to wait for the disk for it.
const bellSQL = `select pg_notify('` + ReadyChannel + `', line), set_config('synchronous_commit', 'off', true) from unnest($1::text[]) line`

func (b *Bell) send(ctx context.Context, lines []string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := b.db.Exec(ctx, bellSQL, lines)
	return err
}
