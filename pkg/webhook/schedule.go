package webhook

import "time"

const (
	tryFor        = 24 * time.Hour // from the job's end
	maxRetryAfter = 6 * time.Hour  // that a receiver may ask for
	jitter        = 0.25           // by which a delay is lengthened at most
)

// Schedule says when a delivery that failed is tried again.
type Schedule struct {
	Delays []time.Duration // after the first try, the second, ...; the last one repeats
	For    time.Duration   // from the job's end to the last try
}

// Day is the schedule of deliveries: twelve tries.
var Day = Schedule{
	Delays: []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 4 * time.Hour, 6 * time.Hour},
	For: tryFor,
}

// next is the delay after a failed try (1 is the first) of a delivery of that age. The receiver may ask for a longer one.
// random is from 0 to 1. The last try is at the end of the time; false: it is over.
func (s Schedule) next(try int, age, asked time.Duration, random float64) (time.Duration, bool) {
	left := s.For - age
	if left <= 0 {
		return 0, false
	}
	delay := s.Delays[min(try, len(s.Delays))-1]
	delay = max(delay, min(asked, maxRetryAfter))
	return min(delay+time.Duration(jitter*random*float64(delay)), left), true
}
