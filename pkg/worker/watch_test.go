package worker

import (
	"testing"
	"time"
)

func TestWatch(t *testing.T) {
	t.Parallel()
	start := time.Now()
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	still := map[string]int64{"a": 7}

	t.Run("a beat that stands still for the whole window is dead", func(t *testing.T) {
		w := newWatch(10 * time.Second)
		for s := range 10 {
			if dead := w.look(still, at(s)); len(dead) != 0 {
				t.Fatalf("dead after %d s", s)
			}
		}
		if dead := w.look(still, at(10)); dead["a"] != 7 {
			t.Fatalf("dead: %v", dead)
		}
	})
	t.Run("one that moves is alive", func(t *testing.T) {
		w := newWatch(10 * time.Second)
		for s := range 60 {
			if dead := w.look(map[string]int64{"a": int64(s / 5)}, at(s)); len(dead) != 0 {
				t.Fatalf("dead after %d s", s)
			}
		}
	})
	t.Run("a gap in the watch starts it again", func(t *testing.T) {
		w := newWatch(10 * time.Second)
		w.look(still, at(0))
		if dead := w.look(still, at(60)); len(dead) != 0 {
			t.Fatal("after an outage everybody was taken for dead")
		}
	})
	t.Run("a look that failed starts it again", func(t *testing.T) {
		w := newWatch(10 * time.Second)
		for s := range 9 {
			w.look(still, at(s))
		}
		w.restart()
		for s := 9; s < 18; s++ {
			if dead := w.look(still, at(s)); len(dead) != 0 {
				t.Fatal("its memory from before the failure counted")
			}
		}
	})
	t.Run("a name that is gone is forgotten", func(t *testing.T) {
		w := newWatch(10 * time.Second)
		w.look(still, at(0))
		w.look(nil, at(4))
		w.look(still, at(8))
		if dead := w.look(still, at(12)); len(dead) != 0 {
			t.Fatal("counted from before it was gone")
		}
	})
}
