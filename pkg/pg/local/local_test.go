package local

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// startOrSkip starts a server; a machine without PostgreSQL (and without npm) skips, except in CI.
func startOrSkip(t *testing.T, opts Options) *Server {
	t.Helper()
	opts.Source = os.Getenv("SLUICE_TEST_POSTGRES")
	s, err := Start(t.Context(), opts)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	return s
}

func TestStartAnswersAndStopLeavesNothing(t *testing.T) {
	t.Parallel()
	s := startOrSkip(t, Options{Fsync: true, MaxConnections: 7, Settings: map[string]string{"work_mem": "5MB"}})
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for name, want := range map[string]string{
		"fsync": "on", "max_connections": "7", "work_mem": "5MB", "server_encoding": "UTF8", "listen_addresses": "127.0.0.1",
	} {
		var got string
		if err := conn.QueryRow(t.Context(), "select current_setting($1)", name).Scan(&got); err != nil || got != want {
			t.Errorf("%s = %q, %v; want %q", name, got, err, want)
		}
	}
	if os.Getenv("SLUICE_TEST_POSTGRES") == SourceNPM && s.Major() != 17 {
		t.Errorf("npm's PostgreSQL is %d; want 17", s.Major())
	}
	process, dir := s.process, s.dir
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := process.Signal(syscall.Signal(0)); err == nil {
		t.Error("the server runs on after Stop")
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestWhatWasCommittedSurvivesACrash(t *testing.T) {
	t.Parallel()
	s := startOrSkip(t, Options{Fsync: true})
	url := s.URL("postgres")
	execute(t, url, "create table kept (n int); insert into kept values (7)")
	for _, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		s.Halt(how)
		if err := s.Resume(t.Context()); err != nil {
			t.Fatalf("after %v: %v", how, err)
		}
		execute(t, url, "insert into kept select max(n) + 1 from kept having count(*) > 0")
	}
	execute(t, url, "do $$ begin assert (select array_agg(n order by n) = '{7,8,9}' from kept); end $$")
}

func execute(t *testing.T, url, sql string) {
	t.Helper()
	if err := try(t, url, sql); err != nil {
		t.Fatal(err)
	}
}

func try(t *testing.T, url, sql string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), sql)
	return err
}

func TestNobodyGetsInWithoutThePassword(t *testing.T) {
	t.Parallel()
	s := startOrSkip(t, Options{})
	url := strings.Replace(s.URL("postgres"), s.password, "guess", 1)
	_, err := pgx.Connect(t.Context(), url)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "28P01" {
		t.Errorf("a wrong password: %v; want SQLSTATE 28P01", err)
	}
	info, err := os.Stat(s.dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's folder: %v, %v; want mode 0700", info.Mode(), err)
	}
}

func TestBadSettingIsReportedInTheServersWords(t *testing.T) {
	t.Parallel()
	startOrSkip(t, Options{})
	_, err := Start(t.Context(), Options{
		Source: os.Getenv("SLUICE_TEST_POSTGRES"), Settings: map[string]string{"work_mem": "plenty"},
	})
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "work_mem"`) {
		t.Errorf("got %v", err)
	}
}

// TestKilledStarterLeavesNoServer runs this test binary once more as a starter that is killed without warning.
func TestKilledStarterLeavesNoServer(t *testing.T) {
	if os.Getenv("SLUICE_TEST_STARTER") != "" {
		s, err := Start(t.Context(), Options{Source: os.Getenv("SLUICE_TEST_POSTGRES")})
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("\n" + s.dir + "\n")
		select {} // until killed
	}
	t.Parallel()
	startOrSkip(t, Options{})
	starter := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	starter.Env = append(os.Environ(), "SLUICE_TEST_STARTER=1")
	out, err := starter.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := starter.Start(); err != nil {
		t.Fatal(err)
	}
	dir := ""
	for lines := bufio.NewScanner(out); dir == "" && lines.Scan(); {
		if strings.Contains(lines.Text(), dirPrefix) {
			dir = lines.Text()
		}
	}
	if dir == "" {
		t.Fatal("the starter did not start")
	}
	defer os.RemoveAll(dir)
	if err := starter.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = starter.Wait() // "signal: killed"

	// The lock is free once both are gone, so waiting for it is waiting for the server's end.
	lock := filepath.Join(dir, lockName)
	unlock, err := lockFile(lock)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	old := time.Now().Add(-2 * sweepAge)
	if err := os.Chtimes(lock, old, old); err != nil {
		t.Fatal(err)
	}
	sweep()
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the killed run's folder is still there: %v", err)
	}
}

func TestSweepSparesTheLiving(t *testing.T) {
	t.Parallel()
	dir, lock, err := newDir(diskRoot())
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	defer lock.Close()
	old := time.Now().Add(-2 * sweepAge)
	if err := os.Chtimes(lock.Name(), old, old); err != nil {
		t.Fatal(err)
	}
	sweep()
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("a locked folder was swept: %v", err)
	}
}

func TestFind(t *testing.T) {
	old, young, broken := fakePostgres(t, "9.6.24"), fakePostgres(t, "16.2 (Debian 16.2-1)"), t.TempDir()
	t.Setenv("PGBIN", young)
	if bin, err := find(t.Context(), Options{}); err != nil || bin != (binaries{young, 16}) {
		t.Errorf("PGBIN: %v, %v", bin, err)
	}
	for dir, want := range map[string]string{old: "PostgreSQL 9, which is too old", broken: "has no initdb"} {
		t.Setenv("PGBIN", dir)
		if _, err := find(t.Context(), Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("PGBIN=%s: %v; want %q", dir, err, want)
		}
	}
	if _, err := find(t.Context(), Options{Source: "rpm"}); err == nil || !strings.Contains(err.Error(), `"rpm"`) {
		t.Errorf("unknown source: %v", err)
	}
	t.Setenv("PGBIN", "")
	t.Setenv("PATH", young)
	if dirs := installed(t.Context()); len(dirs) == 0 || dirs[0] != young {
		t.Errorf("installed() = %v; want %s, from PATH, first", dirs, young)
	}
}

// fakePostgres makes a folder that looks like PostgreSQL's programs of a version.
func fakePostgres(t *testing.T, version string) string {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{
		"initdb":   "#!/bin/sh\n",
		"postgres": "#!/bin/sh\necho 'postgres (PostgreSQL) " + version + "'\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestNewestFirst(t *testing.T) {
	t.Parallel()
	dirs := []string{"/usr/lib/postgresql/9.6/bin", "/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/15/bin"}
	slices.SortFunc(dirs, newestFirst)
	want := []string{"/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/9.6/bin"}
	if !slices.Equal(dirs, want) {
		t.Errorf("got %v", dirs)
	}
}

func TestLinkStaysInside(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "native", "lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(root, "native", "pg-symlinks.json")
	write := func(s string) {
		if err := os.WriteFile(list, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(`[{"source":"native/lib/libpq.so.5.17","target":"native/lib/libpq.so.5"}]`)
	for range 2 { // a second time changes nothing
		if err := link(root); err != nil {
			t.Fatal(err)
		}
	}
	if to, err := os.Readlink(filepath.Join(root, "native/lib/libpq.so.5")); err != nil || to != "libpq.so.5.17" {
		t.Errorf("link leads to %q, %v", to, err)
	}
	write(`[{"source":"x","target":"../../etc/passwd"}]`)
	if err := link(root); err == nil || !strings.Contains(err.Error(), "leads out") {
		t.Errorf("a link out of the package: %v", err)
	}
}

// A primary that waits for its standby has lost nothing that it acknowledged when it is gone.
func TestAStandbyTakesThePrimarysPlace(t *testing.T) {
	t.Parallel()
	primary := startOrSkip(t, Options{Fsync: true, Settings: map[string]string{"work_mem": "5MB"}})
	standby, err := primary.Standby(t.Context())
	if os.Getenv("SLUICE_TEST_POSTGRES") == SourceNPM {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("without pg_basebackup: %v; want fs.ErrNotExist", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = standby.Stop() })
	old, url := primary.URL("postgres"), standby.URL("postgres")
	execute(t, old, "alter system set synchronous_standby_names = '*'")
	execute(t, old, "select pg_reload_conf()")
	for try(t, old, "do $$ begin assert (select sync_state = 'sync' from pg_stat_replication); end $$") != nil {
		time.Sleep(10 * time.Millisecond) // another process gives no event
	}
	execute(t, old, "create table kept (n int); insert into kept values (7)")
	pgErr, ok := errors.AsType[*pgconn.PgError](try(t, url, "create table mine (n int)"))
	if !ok || pgErr.Code != "25006" {
		t.Errorf("a write on the standby: %v; want SQLSTATE 25006", pgErr)
	}
	primary.Halt(syscall.SIGKILL)
	execute(t, url, "select pg_promote()")
	execute(t, url, "do $$ begin assert (select n = 7 from kept) and current_setting('work_mem') = '5MB'; end $$")
	standby.Halt(syscall.SIGKILL)
	if err := standby.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	execute(t, url, "insert into kept values (8)")
}
