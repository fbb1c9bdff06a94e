package worker

import "time"

// watch tells which workers are dead: those whose beat stood still, before this worker's own eyes, for the whole window.
// It measures on the local monotonic clock and trusts nothing else: not a time that a row carries (clocks step), and not
// its own memory across a gap (after an outage of the database every beat has stood still, and all are alive).
type watch struct {
	window time.Duration
	gap    time.Duration // the longest time between two looks that count as one watch
	seen   map[string]sighting
	looked time.Time
}

type sighting struct {
	beat  int64
	since time.Time
}

func newWatch(window time.Duration) *watch {
	return &watch{window: window, gap: min(window/2, 5*time.Second)}
}

// look takes the beats of all workers as of now and returns those that stood still for the window.
func (w *watch) look(beats map[string]int64, now time.Time) (dead map[string]int64) {
	if w.seen == nil || now.Sub(w.looked) > w.gap {
		w.seen = map[string]sighting{}
	}
	w.looked = now
	for id := range w.seen {
		if _, ok := beats[id]; !ok {
			delete(w.seen, id)
		}
	}
	for id, beat := range beats {
		s, ok := w.seen[id]
		if !ok || s.beat != beat {
			w.seen[id] = sighting{beat, now}
			continue
		}
		if now.Sub(s.since) >= w.window {
			if dead == nil {
				dead = map[string]int64{}
			}
			dead[id] = beat
		}
	}
	return dead
}

// restart forgets what was seen: a look failed.
func (w *watch) restart() { w.seen = nil }
