package key

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/sluicedev/sluice/pkg/pg"
)

// MaxName bounds the names of keys and of tenants, in characters.
const MaxName = 100

// ErrNotFound says that there is no key with that id.
var ErrNotFound = errors.New("there is no such key")

// Store is the keys in one database. It has no state of its own and is safe for use by many goroutines.
type Store struct{ db pg.DB }

// NewStore gives the keys in db.
func NewStore(db pg.DB) *Store { return &Store{db: db} }

// Order is what a new key should be.
type Order struct {
	Tenant    string
	Name      string // for people: who uses it, and where
	Scopes    []Scope
	ExpiresIn time.Duration // by the database's clock; 0: see ExpiresAt
	ExpiresAt time.Time     // zero: never
}

func (o Order) fault() error {
	for what, text := range map[string]string{"tenant": o.Tenant, "name": o.Name} {
		if n := utf8.RuneCountInString(text); n == 0 || n > MaxName || !utf8.ValidString(text) || strings.ContainsFunc(text, unprintable) {
			return fmt.Errorf("%s: must have 1 to %d printable characters", what, MaxName)
		}
	}
	if len(o.Scopes) == 0 || slices.ContainsFunc(o.Scopes, func(s Scope) bool { return !slices.Contains(Scopes, s) }) {
		return errors.New("scopes: must be one at least of enqueue, read, operate and admin")
	}
	return nil
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

const stateSQL = `case when revoked_at is not null then 'revoked' when expires_at <= clock_timestamp() then 'expired' else 'active' end`

const keyColumns = `id, tenant, name, scopes, ` + stateSQL + ` as state, created_at, expires_at, last_used_at, revoked_at`

const createSQL = `
insert into api_keys (id, tenant, name, hash, scopes, expires_at)
values ($1, $2, $3, $4, $5, coalesce(now() + $6::interval, $7::timestamptz))
returning ` + keyColumns

// Create makes a key. Its text is not kept anywhere: this is the only time that it is seen.
func (s *Store) Create(ctx context.Context, o Order) (k Key, text string, err error) {
	if err := o.fault(); err != nil {
		return Key{}, "", err
	}
	id, secret := generate()
	k, err = s.one(ctx, createSQL, id, o.Tenant, o.Name, digest(secret), o.Scopes, orNil(o.ExpiresIn), orNil(o.ExpiresAt))
	if pg.Code(err) == checkViolation {
		return Key{}, "", errors.New("expires: must be in the future") // all else was checked
	}
	if err != nil {
		return Key{}, "", fmt.Errorf("create a key: %w", err)
	}
	return k, compose(id, secret), nil
}

const checkViolation = "23514"

func orNil[T comparable](v T) *T {
	if v == *new(T) {
		return nil
	}
	return &v
}

const listSQL = `select ` + keyColumns + ` from api_keys where $1 = '' or tenant = $1 order by created_at, id`

// List gives a tenant's keys, the oldest first; "" gives everybody's.
func (s *Store) List(ctx context.Context, tenant string) ([]Key, error) {
	rows, err := s.db.Query(ctx, listSQL, tenant)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	keys, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Key])
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	return keys, nil
}

const revokeSQL = `update api_keys set revoked_at = coalesce(revoked_at, now()) where id = $1 returning ` + keyColumns

// Revoke ends a key for good: within two seconds no process takes it any more. One that is revoked already stays as it was.
func (s *Store) Revoke(ctx context.Context, id string) (Key, error) {
	k, err := s.one(ctx, revokeSQL, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return Key{}, ErrNotFound
	}
	if err != nil {
		return Key{}, fmt.Errorf("revoke a key: %w", err)
	}
	return k, nil
}

func (s *Store) one(ctx context.Context, sql string, args ...any) (Key, error) {
	rows, err := s.db.Query(ctx, sql, args...)
	if err != nil {
		return Key{}, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[Key])
}

// sight is a key as a look at the database showed it.
type sight struct {
	ID, Tenant string
	Scopes     []Scope
	Hash       []byte
	Revoked    bool
	Left       *float64 // seconds until it expires; nil: never

	at time.Time // just before the look
}

const findSQL = `
select id, tenant, scopes, hash, revoked_at is not null,
       extract(epoch from expires_at - clock_timestamp())::float8
from api_keys where id = any($1)`

// find looks for keys by their ids.
func (s *Store) find(ctx context.Context, ids []string) (map[string]sight, error) {
	at := time.Now()
	rows, err := s.db.Query(ctx, findSQL, ids)
	if err != nil {
		return nil, fmt.Errorf("find keys: %w", err)
	}
	keys, err := pgx.CollectRows(rows, pgx.RowToStructByPos[sight])
	if err != nil {
		return nil, fmt.Errorf("find keys: %w", err)
	}
	found := make(map[string]sight, len(keys))
	for _, k := range keys {
		k.at = at
		found[k.ID] = k
	}
	return found, nil
}

// Nobody waits for another process that writes the same: both mean the same minute.
const usedSQL = `
update api_keys set last_used_at = now()
where id in (
    select id from api_keys
    where id = any($1) and (last_used_at is null or last_used_at < now() - interval '1 minute')
    for update skip locked
)`

// used records that keys were used, at most once a minute each.
func (s *Store) used(ctx context.Context, ids []string) error {
	if _, err := s.db.Exec(ctx, usedSQL, ids); err != nil {
		return fmt.Errorf("record the use of keys: %w", err)
	}
	return nil
}
