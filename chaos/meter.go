package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const sampleEvery = 250 * time.Millisecond

// meter samples how many jobs are done. A database that does not answer leaves a gap.
type meter struct {
	window time.Duration // over which completions are counted

	mu      sync.Mutex
	samples []sample
}

type sample struct {
	at   time.Time
	done int64
}

const doneSQL = `select coalesce(sum(n), 0)::bigint from ended_counts where state = 'done'`

func (m *meter) run(ctx context.Context, db *pgxpool.Pool) {
	for sleep(ctx, sampleEvery) {
		bounded, cancel := context.WithTimeout(ctx, time.Second)
		s := sample{}
		err := db.QueryRow(bounded, doneSQL).Scan(&s.done)
		cancel()
		s.at = time.Now()
		if err == nil {
			m.mu.Lock()
			m.samples = append(m.samples, s)
			m.mu.Unlock()
		}
	}
}

// rate is the number of jobs done a second in the window that begins then. False: it is not over, or was not seen whole.
func (m *meter) rate(from time.Time) (float64, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	first, ok := m.first(from)
	last, over := m.first(from.Add(m.window))
	took := last.at.Sub(first.at)
	if !ok || !over || took <= 0 || took > 2*m.window {
		return 0, false
	}
	return float64(last.done-first.done) / took.Seconds(), true
}

// first is the first sample at or after a time.
func (m *meter) first(at time.Time) (sample, bool) {
	i, _ := slices.BinarySearchFunc(m.samples, at, func(s sample, at time.Time) int { return s.at.Compare(at) })
	if i == len(m.samples) {
		return sample{}, false
	}
	return m.samples[i], true
}
