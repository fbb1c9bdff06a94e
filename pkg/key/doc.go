// Package key is who may do what: API keys, their scopes, and whether one that a stranger shows is good. It owns the
// table api_keys.
//
// A key is shown once, when it is made: sluice_, an id, _, a secret of 32 random bytes and a checksum. Only the SHA-256 of
// the secret is stored. A guess at 256 bits needs no slow hash, and no lock-out that a stranger could turn against the
// holder. The checksum tells a typo, and whoever tries things out, without a look at the database.
//
// [Store] makes, lists and revokes keys. [Ring] verifies them, and keeps what it saw for two seconds: so long may a key
// still work after it was revoked, in each process. Keys that it does not know at the moment are looked up together, one
// statement after the other, at most 50 a second: a million made-up keys neither fill its memory nor reach the database
// one by one, and a good key among them waits for its turn and is never refused for their sake. When a key was last used
// is written behind the requests' back, at most once a minute.
//
// It never tells a key's holder from a stranger by anything but the secret, compares in constant time, and never turns a
// database that does not answer into a key that is not good.
package key
