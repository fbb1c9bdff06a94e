// Package rig is what the benchmarks run on: a private PostgreSQL that survives crashes, as one in production does,
// Sluice's programs built from this checkout, processes that end with the benchmark, and tables of what was measured.
package rig
