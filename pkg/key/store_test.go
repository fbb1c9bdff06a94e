package key

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicedev/sluice/pkg/pg/pgtest"
)

func order(tenant, name string, scopes ...Scope) Order {
	return Order{Tenant: tenant, Name: name, Scopes: scopes}
}

func make1(t *testing.T, s *Store, o Order) (Key, string) {
	t.Helper()
	k, text, err := s.Create(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return k, text
}

// Of a key nothing is stored by which it could be shown again.
func TestOnlyTheHashIsStored(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	s := NewStore(pool)
	k, text := make1(t, s, order("acme", "crm", Enqueue, Read))
	_, secret, ok := Parse(text)
	if !ok {
		t.Fatalf("made %q", text)
	}
	var row string
	if err := pool.QueryRow(t.Context(), `select k::text || encode(hash, 'escape') from api_keys k`).Scan(&row); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(row, secret) {
		t.Errorf("the secret is in the row: %s", row)
	}
	keys, err := s.List(t.Context(), "")
	if err != nil || len(keys) != 1 {
		t.Fatalf("%v, %v", keys, err)
	}
	shown, err := json.Marshal(keys)
	if err != nil || strings.Contains(string(shown), secret) || strings.Contains(string(shown), "hash") {
		t.Errorf("listed: %s, %v", shown, err)
	}
	if got := keys[0]; got.ID != k.ID || got.Tenant != "acme" || got.Name != "crm" || got.State != Active || len(got.Scopes) != 2 || got.ExpiresAt != nil || got.LastUsedAt != nil {
		t.Errorf("%+v", got)
	}
}

func TestKeysAreListedByTenant(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	s := NewStore(pool)
	a, _ := make1(t, s, order("acme", "a", Read))
	b, _ := make1(t, s, order("bolt", "b", Admin))
	gone, _ := make1(t, s, order("bolt", "gone", Read))
	if _, err := s.Revoke(t.Context(), gone.ID); err != nil {
		t.Fatal(err)
	}
	old, _ := make1(t, s, Order{Tenant: "bolt", Name: "old", Scopes: []Scope{Read}, ExpiresIn: time.Hour})
	expire(t, pool, old.ID, gone.ID) // who was revoked is that for good
	for tenant, want := range map[string]map[string]State{
		"":     {a.ID: Active, b.ID: Active, gone.ID: Revoked, old.ID: Expired},
		"acme": {a.ID: Active}, "bolt": {b.ID: Active, gone.ID: Revoked, old.ID: Expired}, "none": {},
	} {
		keys, err := s.List(t.Context(), tenant)
		if err != nil || len(keys) != len(want) {
			t.Errorf("%q: %v, %v", tenant, keys, err)
		}
		for _, k := range keys {
			if want[k.ID] != k.State {
				t.Errorf("%q: %+v", tenant, k)
			}
		}
		if !slices.IsSortedFunc(keys, func(a, b Key) int { return a.CreatedAt.Compare(b.CreatedAt) }) {
			t.Errorf("%q: the oldest is not the first: %v", tenant, keys)
		}
	}
}

// expire has keys be expired for two hours.
func expire(t *testing.T, pool *pgxpool.Pool, ids ...string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), `update api_keys set created_at = now() - interval '3 h', expires_at = now() - interval '2 h' where id = any($1)`, ids); err != nil {
		t.Fatal(err)
	}
}

func TestRevokeIsForGood(t *testing.T) {
	t.Parallel()
	s := NewStore(pgtest.New(t))
	k, _ := make1(t, s, order("acme", "a", Read))
	first, err := s.Revoke(t.Context(), k.ID)
	if err != nil || first.RevokedAt == nil || first.State != Revoked {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := s.Revoke(t.Context(), k.ID)
	if err != nil || !again.RevokedAt.Equal(*first.RevokedAt) {
		t.Errorf("again: %+v, %v", again, err)
	}
	if _, err := s.Revoke(t.Context(), "none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
}

func TestOrdersThatAreRefused(t *testing.T) {
	t.Parallel()
	s := NewStore(pgtest.New(t))
	good := order("acme", "a", Read)
	for word, change := range map[string]func(*Order){
		"tenant":    func(o *Order) { o.Tenant = "" },
		"tenant: ":  func(o *Order) { o.Tenant = strings.Repeat("x", MaxName+1) },
		"name":      func(o *Order) { o.Name = "" },
		"name: ":    func(o *Order) { o.Name = "a\x1b[31m" },
		"name: m":   func(o *Order) { o.Name = "a\nb" },
		"name: mu":  func(o *Order) { o.Name = "\xff" },
		"scopes":    func(o *Order) { o.Scopes = nil },
		"scopes: ":  func(o *Order) { o.Scopes = []Scope{Read, "root"} },
		"expires":   func(o *Order) { o.ExpiresAt = time.Now().Add(-time.Hour) },
		"expires: ": func(o *Order) { o.ExpiresIn = -time.Second },
	} {
		o := good
		change(&o)
		if k, text, err := s.Create(t.Context(), o); err == nil || !strings.HasPrefix(err.Error(), word) || text != "" {
			t.Errorf("%s: %+v, %v", word, k, err)
		}
	}
	long := good
	long.Name, long.Tenant, long.ExpiresAt = strings.Repeat("é", MaxName), strings.Repeat("é", MaxName), time.Now().Add(time.Hour)
	if _, _, err := s.Create(t.Context(), long); err != nil {
		t.Errorf("the longest names: %v", err)
	}
	both := good
	both.ExpiresIn, both.ExpiresAt = time.Hour, time.Now().Add(48*time.Hour)
	if k, _ := make1(t, s, both); !k.ExpiresAt.Equal(k.CreatedAt.Add(time.Hour)) {
		t.Errorf("within an hour, or else at a time: until %v", k.ExpiresAt)
	}
}

// Every named CHECK refuses its bad row, whoever writes it.
func TestChecksRefuseBadRows(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	make1(t, NewStore(pool), order("acme", "a", Read))
	for _, c := range []struct{ constraint, set string }{
		{"api_keys_tenant_length", `tenant = ''`}, {"api_keys_tenant_length", `tenant = repeat('x', 101)`},
		{"api_keys_name_length", `name = ''`}, {"api_keys_name_length", `name = repeat('x', 101)`},
		{"api_keys_scopes_some", `scopes = '{}'`}, {"api_keys_scopes_known", `scopes = '{read,root}'`}, {"api_keys_scopes_known", `scopes = '{null}'`},
		{"api_keys_expires_later", `expires_at = created_at`}, {"api_keys_expires_later", `expires_at = 'infinity'`},
		{"api_keys_hash_length", `hash = ''`},
	} {
		_, err := pool.Exec(t.Context(), `update api_keys set `+c.set)
		var raised *pgconn.PgError
		if !errors.As(err, &raised) || raised.ConstraintName != c.constraint {
			t.Errorf("%s: %v; want a violation of %s", c.set, err, c.constraint)
		}
	}
}

func TestStatementsPrepare(t *testing.T) {
	t.Parallel()
	conn, err := pgtest.New(t).Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for name, sql := range map[string]string{"create": createSQL, "list": listSQL, "revoke": revokeSQL, "find": findSQL, "used": usedSQL} {
		if _, err := conn.Conn().Prepare(t.Context(), name, sql); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
