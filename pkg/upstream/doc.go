// Package upstream keeps what the whole fleet knows of each upstream in Postgres: its breaker, and the quota that the
// provider last told. An upstream is one domain of quota and failure, a credential and a model: "openai:gpt-5".
//
// It is the only code that writes those rows. A change reads the row and the database's time, computes the next row with
// the pure package breaker, and swaps it in by one autocommit statement that takes the upstream's advisory lock and looks
// whether the row is still the one that was read; if not, all is done again. So no client round trip happens under the
// lock, and a client that freezes blocks nobody. Every change of state is a row in breaker_events and a notification.
//
// A worker looks in by a Visit: one change that hands in what its calls met and what the provider said of its limits, and
// buys permits for the next ones. A row without a change of the breaker's state is committed asynchronously: what a crash
// loses of counts and grants heals with the next answers.
//
// It never writes a row for a single success, never waits for a provider, and reads no clock but the database's.
package upstream
