// Package local runs a private PostgreSQL on this machine, for the demo and for tests: a server of its own, with its
// own data folder, on a free loopback port, gone without a trace when it is stopped.
//
// It promises that the server does not outlive the process that started it (on Linux even if that is killed; elsewhere
// as long as Stop is called), that nobody but its starter gets in (TCP asks for a random password, and the socket lies
// in a folder of its own), and that root may start it: PostgreSQL refuses to run as root, so it runs as user postgres
// or nobody. It never touches another server or its data.
//
// The programs come from this machine, PostgreSQL 15 or newer, and only if there are none from npm.
package local
