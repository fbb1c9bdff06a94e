// Package llm says what a call to a provider is: a Request goes in, a Response or an *Error comes out.
//
// It promises that every failure has one of a few kinds, that what a provider says is kept in its own words (status,
// headers, type, code, message), and that text from a provider can be made fit for a log and for PostgreSQL: without key
// material, without characters the database refuses, and no longer than a named limit.
//
// It does no I/O, reads no clock and decides nothing: whether a failure is tried again, held or final is the business of
// whoever called.
package llm
