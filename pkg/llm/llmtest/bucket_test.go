package llmtest

import (
	"testing"
	"time"
)

// The formula against messages that users of OpenAI posted: limit, used, requested, and the wait they were told.
func TestWaitIsWhatOpenAIPrinted(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	for _, c := range []struct {
		limit, used, requested int64
		window                 time.Duration
		want                   string
	}{
		{10_000, 8_554, 3_082, time.Minute, "9.816s"},
		{30_000, 29_937, 385, time.Minute, "644ms"},
		{30_000, 14_567, 24_754, time.Minute, "18.642s"},
		{200_000, 162_960, 42_288, time.Minute, "1.574s"},
		{200_000, 162_582, 45_297, time.Minute, "2.363s"}, // 2.3637: cut, not rounded
		{200_000, 161_431, 45_504, time.Minute, "2.08s"},
		{250_000, 250_000, 13_472, time.Minute, "3.233s"},
		{200, 200, 1, day, "7m12s"},
	} {
		b := newBucket(c.limit, c.window, time.Time{})
		b.spend(c.used)
		if got := b.wait(c.requested).String(); got != c.want {
			t.Errorf("limit %d, used %d, requested %d: wait %s, want %s", c.limit, c.used, c.requested, got, c.want)
		}
	}
}

func TestResetIsTheTimeUntilFull(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit, used int64
		want        string
	}{
		{60, 0, "0s"}, {60, 1, "1s"}, {10_000, 1, "6ms"}, {150_000, 150_000, "1m0s"}, {5_000, 1, "12ms"},
	} {
		b := newBucket(c.limit, time.Minute, time.Time{})
		b.spend(c.used)
		if got := b.reset().String(); got != c.want {
			t.Errorf("limit %d, used %d: reset %s, want %s", c.limit, c.used, got, c.want)
		}
	}
}

func TestBucketRefillsContinuouslyAndNeverAboveItsLimit(t *testing.T) {
	t.Parallel()
	start := time.Unix(1_700_000_000, 0)
	b := newBucket(600, time.Minute, start)
	b.spend(600)
	for _, step := range []struct {
		after time.Duration // since the start
		want  int64
	}{
		{0, 0}, {100 * time.Millisecond, 1}, {time.Second, 10}, {500 * time.Millisecond, 10}, {30 * time.Second, 300}, {time.Hour, 600},
	} {
		b.advance(start.Add(step.after))
		if got := b.remaining(); got != step.want {
			t.Errorf("after %s: %d remain, want %d", step.after, got, step.want)
		}
	}
}

func TestResizeKeepsWhatIsUsed(t *testing.T) {
	t.Parallel()
	b := newBucket(100, time.Minute, time.Time{})
	b.spend(40)
	for _, step := range []struct{ limit, want int64 }{{200, 160}, {50, 10}, {20, 0}, {0, 0}} {
		b.resize(step.limit, time.Minute)
		if got := b.remaining(); got != step.want {
			t.Errorf("limit %d: %d remain, want %d", step.limit, got, step.want)
		}
	}
	if !b.fits(1e9) || b.never(1e9) {
		t.Error("a limit of 0 must be none")
	}
}
