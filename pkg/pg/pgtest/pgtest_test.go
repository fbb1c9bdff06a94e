package pgtest

import (
	"fmt"
	"testing"

	"github.com/sluicedev/sluice/pkg/pg"
)

func TestMain(m *testing.M) { Main(m) }

func TestEachTestHasItsOwnMigratedDatabase(t *testing.T) {
	t.Parallel()
	names := make(chan string, 4)
	t.Run("group", func(t *testing.T) {
		for i := range cap(names) {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				pool := New(t)
				current, wanted, err := pg.Version(t.Context(), pool)
				if err != nil || current != wanted {
					t.Errorf("version %d of %d, %v", current, wanted, err)
				}
				if _, err := pool.Exec(t.Context(), "create table mine ()"); err != nil {
					t.Error(err) // in a shared database the second of us would meet the first one's table
				}
				var name string
				if err := pool.QueryRow(t.Context(), "select current_database()").Scan(&name); err != nil {
					t.Error(err)
				}
				names <- name
			})
		}
	})
	close(names)
	seen := map[string]bool{}
	for name := range names {
		if seen[name] {
			t.Errorf("two tests shared %s", name)
		}
		seen[name] = true
		var exists bool
		s, _ := theServer()
		s.mu.Lock()
		err := s.admin.QueryRow(t.Context(), "select exists (select from pg_database where datname = $1)", name).Scan(&exists)
		s.mu.Unlock()
		if err != nil || exists {
			t.Errorf("%s is still there after its test: %v", name, err)
		}
	}
}

func TestEmptyURLHasNoMigrations(t *testing.T) {
	t.Parallel()
	pool, err := pg.Open(t.Context(), EmptyURL(t), pg.Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if current, _, err := pg.Version(t.Context(), pool); err != nil || current != 0 {
		t.Errorf("version %d, %v", current, err)
	}
}

func TestWithDatabase(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"postgres://u:p%40@h:1/old?sslmode=disable": "postgres://u:p%40@h:1/new?sslmode=disable",
		"postgresql:///old?host=/run/pg":            "postgresql:///new?host=/run/pg",
	} {
		if got := withDatabase(raw, "new"); got != want {
			t.Errorf("withDatabase(%q) = %q; want %q", raw, got, want)
		}
	}
}

// BenchmarkClone is what a test pays for its database, by the two ways in which PostgreSQL can copy one.
func BenchmarkClone(b *testing.B) {
	s, err := theServer()
	if err != nil {
		unavailable(b, err)
	}
	for _, strategy := range []string{"wal_log", "file_copy"} {
		b.Run(strategy, func(b *testing.B) {
			for b.Loop() {
				if err := s.exec("create database bench template " + s.template + " strategy " + strategy); err != nil {
					b.Fatal(err)
				}
				if err := s.exec("drop database bench with (force)"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
