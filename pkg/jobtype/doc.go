// Package jobtype knows what a kind of job is: which upstream and model it goes
// to, its defaults and bounds, what a payload of it must look like, and what
// request to the provider becomes of that payload.
//
// It promises that a request is put together from the payload's own bytes. The
// order of the keys in a schema reaches the model, and 1e2 is not 100 to whoever
// compares: nothing is decoded and written again. What a payload's request sets,
// no default overrides; only a policy goes in front of its instructions.
//
// It never reads a file or the environment and never calls anyone. Types are
// made by the configuration and do not change while a process runs.
package jobtype
