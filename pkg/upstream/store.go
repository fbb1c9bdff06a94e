package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/sluicedev/sluice/pkg/breaker"
	"github.com/sluicedev/sluice/pkg/pg"
	"github.com/sluicedev/sluice/pkg/quota"
)

// Channel is where every change of a breaker's state is notified, with the upstream's name; the first sign of a limit, from
// which on calls need permits; and a suspicion of a credential that others' successes may settle. It is only a faster way to
// learn what List tells.
const Channel = "sluice_upstreams"

// ErrNotFound says that there is no upstream of that name.
var ErrNotFound = errors.New("there is no such upstream")

// Store is the upstreams in one database. It has no state of its own and is safe for use by many goroutines.
type Store struct {
	db      pg.DB
	rules   breaker.Rules
	changed func(Change)
}

// New gives the upstreams in db with the published rules.
func New(db pg.DB) *Store {
	return &Store{db: db, rules: breaker.DefaultRules, changed: func(Change) {}}
}

// Change is a breaker's change of state that this process made: each is made by one alone.
type Change struct {
	Upstream, From, To string
	Reason             string // "" of none
}

// Telling gives the same upstreams, of whose changes that are made through it somebody is told.
func (s *Store) Telling(changed func(Change)) *Store {
	return &Store{db: s.db, rules: s.rules, changed: changed}
}

// WithRules gives the same upstreams under other rules.
func (s *Store) WithRules(rules breaker.Rules) *Store {
	return &Store{db: s.db, rules: rules, changed: s.changed}
}

// HoldFor is how long, by the rules, to wait between two looks whether what was refused is accepted again.
func (s *Store) HoldFor() time.Duration { return s.rules.HoldFor }

const ensureSQL = `insert into upstreams (name) select unnest($1::text[]) order by 1 on conflict do nothing`

// Ensure makes the rows of upstreams that the configuration names. Only they exist: a name that a request makes up never
// becomes a row.
func (s *Store) Ensure(ctx context.Context, names ...string) error {
	_, err := s.db.Exec(ctx, ensureSQL, names)
	return wrap("ensure upstreams", err)
}

const listSQL = `select ` + rowColumns + ` from upstreams order by name`

// List reads every upstream, by name.
func (s *Store) List(ctx context.Context) ([]Status, error) {
	rows, err := s.db.Query(ctx, listSQL)
	if err != nil {
		return nil, fmt.Errorf("list upstreams: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByName[row])
	if err != nil {
		return nil, fmt.Errorf("list upstreams: %w", err)
	}
	statuses := make([]Status, len(all))
	for i, r := range all {
		statuses[i] = r.status()
	}
	return statuses, nil
}

const getSQL = `select ` + rowColumns + ` from upstreams where name = $1`

func (s *Store) read(ctx context.Context, name string) (row, error) {
	rows, err := s.db.Query(ctx, getSQL, name)
	if err != nil {
		return row{}, err
	}
	r, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[row])
	if errors.Is(err, pgx.ErrNoRows) {
		return row{}, ErrNotFound
	}
	return r, err
}

// Get reads one upstream. False: there is none of that name.
func (s *Store) Get(ctx context.Context, name string) (Status, bool, error) {
	r, err := s.read(ctx, name)
	if errors.Is(err, ErrNotFound) {
		return Status{}, false, nil
	}
	return r.status(), err == nil, wrap("get upstream", err)
}

const swapSQL = `select upstream_swap($1, $2, $3, $4)`

// maxSwaps bounds how often a change is tried again because others were faster. Each round, one of them won.
const maxSwaps = 100

// change computes the next row from the present one and swaps it in. compute may be called more than once. A change that
// changes nothing writes nothing. swaps is how many transactions it took.
func (s *Store) change(ctx context.Context, name, by string, compute func(r row) row) (status Status, swaps int, err error) {
	for swaps < maxSwaps {
		old, err := s.read(ctx, name)
		if err != nil {
			return Status{}, swaps, err
		}
		next := compute(old)
		if reflect.DeepEqual(next, old) {
			return old.status(), swaps, nil
		}
		swapped, err := s.swap(ctx, old, next, by)
		if err != nil {
			return Status{}, swaps, err
		}
		swaps++
		if swapped {
			return next.status(), swaps, nil
		}
	}
	return Status{}, swaps, fmt.Errorf("upstream %s changed %d times while it was being changed", name, maxSwaps)
}

type event struct {
	From   string  `json:"from_state"`
	To     string  `json:"to_state"`
	Reason *string `json:"reason"`
	By     string  `json:"by"`
}

func (s *Store) swap(ctx context.Context, old, next row, by string) (swapped bool, err error) {
	state, err := json.Marshal(next)
	if err != nil {
		return false, err
	}
	var transition []byte
	if old.moved(next) {
		if transition, err = json.Marshal(event{old.State, next.State, next.Reason, by}); err != nil {
			return false, err
		}
	}
	err = s.db.QueryRow(ctx, swapSQL, old.Name, old.Version, string(state), null(string(transition))).Scan(&swapped)
	if swapped && old.moved(next) {
		s.changed(Change{old.Name, old.State, next.State, value(next.Reason)})
	}
	return swapped, err
}

// step applies a step of the breaker.
func (s *Store) step(ctx context.Context, operation, name, by string, step func(b breaker.Breaker, now time.Time, rnd float64) breaker.Breaker) (Status, error) {
	status, _, err := s.change(ctx, name, by, func(r row) row {
		old := r.breaker().Sane(s.rules, r.Now)
		next := step(old, r.Now, rand.Float64())
		return r.with(next).withQuota(turned(r.Quota.Quota, old, next, r.Now))
	})
	if err != nil {
		return Status{}, fmt.Errorf("%s %s: %w", operation, name, err)
	}
	return status, nil
}

// Refuse counts a refusal of a call that is not a probe.
func (s *Store) Refuse(ctx context.Context, name, worker string, refused breaker.Refused) (Status, error) {
	return s.step(ctx, "report to", name, worker, func(b breaker.Breaker, now time.Time, rnd float64) breaker.Breaker {
		return b.Refuse(refused, s.rules, now, rnd)
	})
}

// Grant asks for the permit for the next probe, for at most the given time, to be made with this credential. uuid.Nil:
// there is none to be had.
func (s *Store) Grant(ctx context.Context, name, worker, credential string, lasts time.Duration) (Status, uuid.UUID, error) {
	id := uuid.New()
	granted := false
	status, err := s.step(ctx, "ask for a probe of", name, worker, func(b breaker.Breaker, now time.Time, _ float64) breaker.Breaker {
		b, granted = b.Grant(breaker.Probe{ID: id, Worker: worker, Until: now.Add(lasts)}, credential, now)
		return b
	})
	if !granted {
		id = uuid.Nil
	}
	return status, id, err
}

// Took records which job a probe is made with, so that the next one takes another.
func (s *Store) Took(ctx context.Context, name, worker string, probe, job uuid.UUID) error {
	_, err := s.step(ctx, "start the probe of", name, worker, func(b breaker.Breaker, _ time.Time, _ float64) breaker.Breaker {
		b, _ = b.Took(probe, job)
		return b
	})
	return err
}

// Answered ends a probe with what it met, and takes what its headers said of the quota (nil: nothing): with the state that
// lets others start they learn how many may.
func (s *Store) Answered(ctx context.Context, name, worker string, a breaker.Answer, seen *quota.Observation) (Status, error) {
	status, _, err := s.change(ctx, name, worker, func(r row) row {
		old := r.breaker().Sane(s.rules, r.Now)
		next := old.Answered(a, s.rules, r.Now, rand.Float64())
		q := turned(r.Quota.Quota, old, next, r.Now)
		if seen != nil {
			q = q.Observe(*seen, r.Now)
		}
		return r.with(next).withQuota(q)
	})
	return status, wrap("end the probe of "+name, err)
}

// Free gives a permit back that led to no answer.
func (s *Store) Free(ctx context.Context, name, worker string, probe uuid.UUID) (Status, error) {
	return s.step(ctx, "free the probe of", name, worker, func(b breaker.Breaker, now time.Time, _ float64) breaker.Breaker {
		return b.Free(probe, now)
	})
}

const lostSQL = `
select name, probe_id from upstreams u
where probe_worker is not null and not exists (select from workers w where w.id = u.probe_worker)`

// FreeLost gives back the permits of workers that are not on the list any more: they died, or left without an answer.
func (s *Store) FreeLost(ctx context.Context, by string) error {
	rows, err := s.db.Query(ctx, lostSQL)
	if err != nil {
		return wrap("free probes", err)
	}
	held := map[string]uuid.UUID{}
	var name string
	var probe uuid.UUID
	if _, err = pgx.ForEachRow(rows, []any{&name, &probe}, func() error { held[name] = probe; return nil }); err != nil {
		return wrap("free probes", err)
	}
	for name, probe := range held {
		if _, err := s.Free(ctx, name, by, probe); err != nil {
			return err
		}
	}
	return nil
}

// Pause stops an upstream until somebody resumes it. Calls in flight end as they do.
func (s *Store) Pause(ctx context.Context, name, by string) (Status, error) {
	return s.step(ctx, "pause", name, by, func(b breaker.Breaker, now time.Time, _ float64) breaker.Breaker { return b.Pause(now) })
}

// Resume closes an upstream that was paused, and lets one that is open for another reason probe at once.
func (s *Store) Resume(ctx context.Context, name, by string) (Status, error) {
	return s.step(ctx, "resume", name, by, func(b breaker.Breaker, now time.Time, _ float64) breaker.Breaker { return b.Resume(now) })
}

func wrap(operation string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", operation, err)
}
