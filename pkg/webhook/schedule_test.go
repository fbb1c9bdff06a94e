package webhook

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestADayOfTries(t *testing.T) {
	t.Parallel()
	var age time.Duration
	tries := 1
	for {
		delay, again := Day.next(tries, age, 0, 0)
		if !again {
			break
		}
		age += delay
		tries++
	}
	if tries != 12 || age != tryFor {
		t.Errorf("%d tries within %v; want 12 within %v", tries, age, tryFor)
	}
}

func TestDelays(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		try        int
		age, asked time.Duration
		random     float64
		want       time.Duration // 0: none
	}{
		{"the first", 1, 0, 0, 0, 5 * time.Second},
		{"jitter lengthens", 3, 0, 0, 1, 150 * time.Second},
		{"the last repeats", 40, 0, 0, 0, 6 * time.Hour},
		{"asked for less", 4, 0, time.Second, 0, 10 * time.Minute},
		{"asked for more", 1, 0, time.Minute, 0, time.Minute},
		{"asked for too much", 1, 0, 20 * time.Hour, 0, maxRetryAfter},
		{"the end of the day", 11, 23 * time.Hour, maxRetryAfter, 1, time.Hour},
		{"over", 2, tryFor, 0, 0, 0},
		{"long over", 1, 40 * tryFor, time.Hour, 0, 0},
	} {
		got, again := Day.next(tt.try, tt.age, tt.asked, tt.random)
		if got != tt.want || again != (tt.want > 0) {
			t.Errorf("%s: %v, %v; want %v", tt.name, got, again, tt.want)
		}
	}
}

func TestAnyDelay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		try, random := rapid.IntRange(1, 1<<30).Draw(t, "try"), rapid.Float64Range(0, 1).Draw(t, "random")
		age, asked := time.Duration(rapid.Int64Range(0, int64(48*time.Hour)).Draw(t, "age")), time.Duration(rapid.Int64().Draw(t, "asked"))
		delay, again := Day.next(try, age, asked, random)
		if again != (age < tryFor) || again && (delay <= 0 || age+delay > tryFor || delay > maxRetryAfter*5/4) {
			t.Fatalf("%v, %v", delay, again)
		}
	})
}
