package webhook

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/sluicedev/sluice/pkg/pg"
)

// Calls in flight of a process, so that one that is slow leaves room for others.
const (
	maxCalls       = 64
	maxTenantCalls = 48 // of one tenant
	maxHostCalls   = 16 // of one tenant to one host
)

const (
	pollEvery      = time.Minute // a worker's look tells sooner
	recordPause    = time.Second // after a statement that failed
	statementLimit = 10 * time.Second
)

// Config is what a deliverer needs to know.
type Config struct {
	Keys      map[string][]Key  // by tenant; "": of all others. Empty: nothing is sent
	Endpoints map[string]string // by tenant: allowed, because the operator wrote them
	Hosts     []string          // that jobs may name: names, *.names, or *, each with a port or for the usual ones
	Networks  []netip.Prefix    // inside the network that may be reached
	Resolver  *net.Resolver     // nil: the system's
	Schedule  Schedule
	Observe   func(status int, err error, took time.Duration) // of each try; nil: nobody does. Status 0: no answer
	Log       *slog.Logger
}

// Deliverer makes the deliveries that are due. Any number of them share the table. Make it with New, and Run it once.
type Deliverer struct {
	cfg    Config
	db     pg.DB
	client *http.Client
	limit  time.Duration // of a call
	owed   chan struct{}
	ended  chan ended

	// Of Run alone.
	calls    int
	inFlight map[int64]int // by lane
	more     bool          // the last claim found something
	unclear  []record      // that Postgres could not be told of
}

// ended is a try that is over.
type ended struct {
	delivery
	answer
}

// New gives a deliverer on db.
func New(db pg.DB, cfg Config) *Deliverer {
	return &Deliverer{cfg: cfg, db: db, client: newClient(cfg.Networks, cfg.Resolver), limit: callLimit,
		owed: make(chan struct{}, 1), ended: make(chan ended, maxCalls), inFlight: map[int64]int{}}
}

// Owed says that something is due. It returns at once.
func (d *Deliverer) Owed() {
	select {
	case d.owed <- struct{}{}:
	default:
	}
}

// Run delivers until ctx ends, and then lets the calls in flight end. Without any key it only deletes old rows.
func (d *Deliverer) Run(ctx context.Context) {
	defer d.client.CloseIdleConnections()
	d.announce()
	poll, again := time.NewTicker(pollEvery), time.NewTimer(0)
	defer poll.Stop()
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			d.finish()
			return
		case <-d.owed:
			d.more = true
		case <-again.C:
			d.more = true
		case <-poll.C:
			d.more = true
			d.prune(ctx)
		case e := <-d.ended:
			d.end(e)
		}
		if err := d.step(ctx); err != nil && ctx.Err() == nil {
			d.cfg.Log.Warn("webhooks wait", "error", err)
			again.Reset(recordPause)
		}
	}
}

// announce says what is not sent.
func (d *Deliverer) announce() {
	switch {
	case len(d.cfg.Keys) == 0:
		d.cfg.Log.Info("no webhooks are sent from here, because there is no secret to sign them with: see SLUICE_WEBHOOK_SECRET")
	case len(d.cfg.Hosts) == 0:
		d.cfg.Log.Info("webhooks go to the tenants' endpoints alone, because no host of a callback_url is allowed: see SLUICE_WEBHOOK_HOSTS")
	}
}

// step records what ended and starts what is due. Nothing starts while something could not be recorded.
func (d *Deliverer) step(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, statementLimit)
	defer cancel()
	if err := d.record(ctx); err != nil {
		return err
	}
	if !d.more || len(d.cfg.Keys) == 0 || d.calls == maxCalls {
		return nil
	}
	return d.start(ctx)
}

// start begins deliveries that are due.
func (d *Deliverer) start(ctx context.Context) error {
	d.more = false
	for _, from := range []place{anywhere(), first} {
		if d.calls == maxCalls {
			return nil
		}
		claimed, err := claim(ctx, d.db, from, d.inFlight, maxCalls-d.calls)
		if err != nil {
			return err
		}
		for _, x := range claimed {
			d.more = true
			d.calls++
			d.inFlight[x.lane]++
			go func() { d.ended <- ended{x, d.observed(x)} }()
		}
	}
	return nil
}

// observed makes the call. It outlives ctx: a call that was made is recorded.
func (d *Deliverer) observed(x delivery) answer {
	began := time.Now()
	a := d.call(context.Background(), x)
	if d.cfg.Observe != nil {
		d.cfg.Observe(a.status, a.err, time.Since(began))
	}
	return a
}

// end takes in a try that is over, and all others that are by now.
func (d *Deliverer) end(e ended) {
	for {
		d.calls--
		if d.inFlight[e.lane]--; d.inFlight[e.lane] == 0 {
			delete(d.inFlight, e.lane)
		}
		d.unclear = append(d.unclear, d.judge(e))
		select {
		case e = <-d.ended:
		default:
			return
		}
	}
}

// judge says what is to be written of a try.
func (d *Deliverer) judge(e ended) record {
	r := record{id: e.id, attempts: e.attempts, err: storable(e.err)}
	if e.status != 0 {
		r.status = &e.status
	}
	if e.err == nil {
		return r
	}
	delay, again := d.cfg.Schedule.next(e.attempts, e.age, e.retryAfter, rand.Float64())
	if again && !e.gone() {
		r.delay = new(delay.Milliseconds())
		return r
	}
	d.cfg.Log.Warn("a webhook could not be delivered and is given up", "delivery", e.id, "tenant", e.tenant, "tries", e.attempts, "error", e.err)
	return r
}

func (d *Deliverer) record(ctx context.Context) error {
	if len(d.unclear) == 0 {
		return nil
	}
	err := write(ctx, d.db, d.unclear)
	if err == nil {
		d.unclear = nil
	}
	return err
}

// finish waits for the calls in flight, which have a limit, and records them. What cannot be recorded is delivered again.
func (d *Deliverer) finish() {
	for d.calls > 0 {
		d.end(<-d.ended)
	}
	ctx, cancel := context.WithTimeout(context.Background(), statementLimit)
	defer cancel()
	if err := d.record(ctx); err != nil {
		d.cfg.Log.Warn("the last webhooks could not be recorded and will be delivered again", "error", err)
	}
}

// prune deletes what is old, as long as there is much of it.
func (d *Deliverer) prune(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, statementLimit)
	defer cancel()
	for n := int64(pruneSize); n == pruneSize; {
		var err error
		if n, err = prune(ctx, d.db); err != nil {
			d.cfg.Log.Warn("old webhooks are kept for now", "error", err)
			return
		}
	}
}
