// Package retry decides what an answer of a provider means for the job that
// asked, and when to ask again.
//
// It is pure: no clock, no randomness, no I/O. The time and a random number in
// [0, 1) are arguments, so every decision can be written down in a table and
// fuzzed. It promises that no delay is ever negative, infinite or longer than
// its named maximum, whatever a provider sends.
//
// It never sleeps and never retries. A caller stores the delay with the job and
// lets go of it: a provider may ask for days, and a claimed job must not wait.
package retry
