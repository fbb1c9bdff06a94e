package queue

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sluicedev/sluice/pkg/pg"
)

// Bounds of an Intake.
const (
	groupJobs    = 256     // jobs in a statement
	groupBytes   = 1 << 20 // of their payloads; one job may be more
	groupLanes   = 2       // statements under way at once: while one waits for the disk, the next one is worked at
	groupLimit   = 10 * time.Second
	groupTries   = 3                // of a statement whose reply was lost
	keyPatience  = "100ms"          // how long a group waits for another transaction that holds one of its keys
	clockTrusted = 30 * time.Second // how long the local monotonic clock may stand in for the database's
)

// Intake enqueues jobs one by one, and lets those that arrive at the same moment share a statement, and so a commit. There is no timer:
// a job that comes alone goes at once; those that come while statements are under way make up the next one.
//
// Strangers share a commit, but not a fate: a group that fails is taken apart, and each of its jobs goes on alone.
type Intake struct {
	queue        *Queue
	bell         *Bell
	clock        clock
	plain, keyed lanes // jobs with a key may have to wait for others; those without never do
}

// NewIntake gives an Intake in front of a queue, which rings the bell for what it enqueued. It needs no end: it has no
// goroutine while no job comes.
func NewIntake(q *Queue, bell *Bell) *Intake {
	i := &Intake{queue: q, bell: bell}
	i.plain = lanes{store: i.store, bell: bell}
	i.keyed = lanes{store: i.store, bell: bell}
	return i
}

// Enqueue is [Queue.Enqueue] for a single job. If ctx ends first, it is unclear whether the job was accepted.
func (i *Intake) Enqueue(ctx context.Context, job NewJob) (Enqueued, error) {
	r, err := i.queue.row(job)
	if err != nil {
		return Enqueued{}, enqueueError(err)
	}
	names, err := i.names(ctx, 1)
	if err != nil {
		return Enqueued{}, enqueueError(err)
	}
	r.id = &names[0]
	lanes := &i.plain
	if r.key != nil {
		lanes = &i.keyed
	}
	f, err := lanes.join(ctx, r)
	if errors.Is(err, errApart) {
		f, err = i.alone(ctx, r)
		i.bell.Ring(news(f.Enqueued)...)
	}
	if err == nil {
		err = at(f.fault, func(int) int { return 0 }) // the only one of the call, whatever it was in the group
	}
	return f.Enqueued, enqueueError(err)
}

// EnqueueAll is [Queue.Enqueue] for a batch, with ids that cost the database nothing.
func (i *Intake) EnqueueAll(ctx context.Context, batch Batch) ([]Enqueued, error) {
	names, err := i.names(ctx, min(batch.Len, MaxBatch))
	if err != nil {
		return nil, enqueueError(err)
	}
	made, err := i.queue.enqueueBatch(ctx, batch, names)
	i.bell.Ring(news(made...)...)
	return made, err
}

// news are the lines that have new work.
func news(made ...Enqueued) (lines []string) {
	for _, m := range made {
		if m.State == Queued && !m.Replayed && !slices.Contains(lines, m.Line) {
			lines = append(lines, m.Line)
		}
	}
	return lines
}

// alone stores one row whose group failed.
func (i *Intake) alone(ctx context.Context, r row) (fate, error) {
	fates, err := i.store(ctx, []row{r}, terms{again: true}) // the group may have been stored, and its reply lost
	if err != nil {
		return fate{}, err
	}
	return fates[0], nil
}

// store stores rows that have ids, each for itself.
func (i *Intake) store(ctx context.Context, rows []row, on terms) (made []fate, err error) {
	for n := range groupTries {
		on.again = n > 0 || on.again
		err = pg.Retry(ctx, func() error {
			if made, err = insert(ctx, i.queue.db, rows, on); err != nil {
				return err
			}
			return earlier(ctx, i.queue.db, rows, made)
		})
		if err == nil || pg.Code(err) != "" || ctx.Err() != nil {
			return made, err
		}
	}
	return made, err
}

// names makes ids by the database's clock. A statement of rows with such ids whose reply was lost can be repeated: what
// it stored is found, not doubled.
func (i *Intake) names(ctx context.Context, n int) ([]uuid.UUID, error) {
	now, ok := i.clock.now()
	if !ok {
		asked := time.Now()
		if err := i.queue.db.QueryRow(ctx, `select clock_timestamp()`).Scan(&now); err != nil {
			return nil, err
		}
		i.clock.set(now, asked)
	}
	return newIDs(now, n), nil
}

func newIDs(now time.Time, n int) []uuid.UUID {
	random := make([]byte, 8*n)
	rand.Read(random) // never fails
	ids := make([]uuid.UUID, n)
	for i := range ids {
		ids[i] = newID(now.Add(time.Duration(i)*time.Microsecond), random[8*i:]) // in their order
	}
	return ids
}

// newID is uuid_v7() of the migrations, in Go, of a time and eight random bytes.
func newID(now time.Time, random []byte) (id uuid.UUID) {
	micros := now.UnixMicro()
	copy(id[8:], random)
	binary.BigEndian.PutUint64(id[:8], uint64(micros/1000)<<16|7<<12|uint64(micros%1000*4096/1000))
	id[8] = id[8]&0x3f | 0x80
	return id
}

// clock is the database's, as it was read last, moved on by the local monotonic one.
type clock struct {
	mu    sync.Mutex
	read  time.Time // the database's
	asked time.Time // local
}

func (c *clock) now() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	passed := time.Since(c.asked)
	return c.read.Add(passed), passed < clockTrusted
}

func (c *clock) set(read, asked time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read, c.asked = read, asked
}

// errApart says that a group failed, and its jobs have to go alone.
var errApart = errors.New("the group failed")

// lanes store groups of rows, groupLanes of them at once.
type lanes struct {
	store func(ctx context.Context, rows []row, on terms) ([]fate, error)
	bell  *Bell

	mu      sync.Mutex
	waiting []*passenger
	busy    int // lanes
}

type passenger struct {
	row  row
	fate fate
	err  error
	done chan struct{}
}

// join waits until the row's group is stored.
func (l *lanes) join(ctx context.Context, r row) (fate, error) {
	p := &passenger{row: r, done: make(chan struct{})}
	l.mu.Lock()
	l.waiting = append(l.waiting, p)
	if l.busy < groupLanes {
		l.busy++
		go l.run()
	}
	l.mu.Unlock()
	select {
	case <-p.done:
		return p.fate, p.err
	case <-ctx.Done():
		return fate{}, ctx.Err()
	}
}

// run stores groups until nobody waits. What is new is told when they have their answers, and by whoever has nothing else to do.
func (l *lanes) run() {
	var lines []string
	for group := l.take(); len(group) > 0; group = l.take() {
		l.bell.Ring(lines...)
		lines = l.carry(group)
	}
	l.bell.ringHere(context.Background(), lines...)
}

// take gives the next group. An empty one gives up the lane.
func (l *lanes) take() []*passenger {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, bytes := 0, 0
	for n < len(l.waiting) && n < groupJobs && (n == 0 || bytes+len(l.waiting[n].row.payload) <= groupBytes) {
		bytes += len(l.waiting[n].row.payload)
		n++
	}
	if n == 0 {
		l.busy--
		l.waiting = nil // and its memory
		return nil
	}
	group := l.waiting[:n:n]
	l.waiting = l.waiting[n:]
	return group
}

// carry stores a group under a time of its own: one client that goes away must not fail the others. It gives the lines that
// have new work.
func (l *lanes) carry(group []*passenger) []string {
	ctx, cancel := context.WithTimeout(context.Background(), groupLimit)
	defer cancel()
	fates, err := l.store(ctx, of(group, func(p *passenger) row { return p.row }), terms{patience: keyPatience})
	for i, p := range group {
		if err != nil {
			p.err = errApart
		} else {
			p.fate = fates[i]
		}
		close(p.done)
	}
	return news(accepted(fates)...)
}
