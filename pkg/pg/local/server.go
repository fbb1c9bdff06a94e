package local

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	user = "postgres" // the superuser of the private server

	startTimeout = time.Minute      // for the server to answer: a loaded machine is slow, a broken one says so at once
	stopTimeout  = 10 * time.Second // for the server to end before it is killed
	resumePause  = 50 * time.Millisecond
	portTries    = 5    // a free port may be taken by somebody else before the server gets there
	logTail      = 2000 // bytes of the server's last words that go into an error
	maxSocketDir = 80   // bytes; a unix socket's whole path has to fit into 104 on macOS, 108 on Linux
)

// Options of a private server. The zero value is one for tests.
type Options struct {
	Fsync          bool              // survive a crash of the machine, at a price in speed; off keeps all in memory
	MaxConnections int               // 0 means 100
	Settings       map[string]string // further lines of postgresql.conf
	Source         string            // "" looks on this machine first; SourceNPM forces npm's
	Tell           func(news string) // called before what takes long, a download; nil tells nobody
}

// Server is a running private PostgreSQL.
type Server struct {
	dir      string // everything of it: data, socket, password, log, lock
	port     int
	password string
	major    int
	bin      binaries
	opts     Options
	process  *os.Process
	lock     *os.File
	ended    chan struct{} // closed once the process has ended
	exit     error         // why it ended; read it after ended is closed
}

// Start makes a database cluster in a temporary folder, starts a server on it, and returns once that answers.
// Call Stop when done.
func Start(ctx context.Context, opts Options) (*Server, error) {
	bin, err := find(ctx, opts)
	if err != nil {
		return nil, err
	}
	sweep()
	s := &Server{password: rand.Text(), major: bin.major, bin: bin, opts: opts}
	if err := s.create(ctx); err != nil {
		s.remove()
		return nil, fmt.Errorf("create a private PostgreSQL: %w", err)
	}
	if err := s.begin(ctx); err != nil {
		s.remove()
		return nil, fmt.Errorf("start a private PostgreSQL: %w", err)
	}
	return s, nil
}

// begin runs the server for the first time, on a free port.
func (s *Server) begin(ctx context.Context) (err error) {
	for range portTries {
		if s.port, err = freePort(); err != nil {
			return err
		}
		err = s.run(ctx)
		if err == nil || !strings.Contains(err.Error(), "Address already in use") {
			break
		}
	}
	return err
}

// URL is the address of a database on the server, over TCP, for its superuser. The database "postgres" exists.
func (s *Server) URL(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(user, s.password),
		Host:     s.Address(),
		Path:     database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Address is the server's host and port.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Major is the server's major version, 15 or more.
func (s *Server) Major() int { return s.major }

// Halt ends the server in one of PostgreSQL's ways: SIGTERM waits for its clients, SIGINT sends them away, SIGQUIT leaves
// the recovery to the next start, and SIGKILL is a crash. The data stay, for Resume.
func (s *Server) Halt(how syscall.Signal) {
	if s.process == nil {
		return
	}
	_ = s.process.Signal(how) // fails only if it ended by itself
	<-s.ended
	s.process = nil
}

// Resume starts a server that was halted on the same data and the same port.
func (s *Server) Resume(ctx context.Context) error {
	err := s.run(ctx)
	// The children of a server that crashed may need a moment to find out, and keep its memory until then.
	for deadline := time.Now().Add(startTimeout); err != nil && time.Now().Before(deadline); err = s.run(ctx) {
		time.Sleep(resumePause)
	}
	if err != nil {
		return fmt.Errorf("start a private PostgreSQL again: %w", err)
	}
	return nil
}

// Log is the file that the server writes its log to, from its first start on. Stop removes it.
func (s *Server) Log() string { return filepath.Join(s.dir, "log") }

// Stop ends the server at once, with whatever it was doing, and removes its folder.
func (s *Server) Stop() error {
	s.halt()
	return s.remove()
}

// create makes the folder and the cluster in it.
func (s *Server) create(ctx context.Context) error {
	owner, err := serverUser()
	if err != nil {
		return err
	}
	if err := s.makeDir(owner); err != nil {
		return err
	}
	passwordFile := filepath.Join(s.dir, "password")
	if err := os.WriteFile(passwordFile, []byte(s.password), 0o600); err != nil {
		return err
	}
	if err := give(passwordFile, owner); err != nil {
		return err
	}
	initdb := exec.CommandContext(ctx, filepath.Join(s.bin.dir, "initdb"),
		"--pgdata", s.data(), "--username", user, "--pwfile", passwordFile,
		"--auth-local", "trust", "--auth-host", "scram-sha-256",
		"--encoding", "UTF8", "--no-locale", "--no-sync")
	s.prepare(initdb, owner)
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", initdb.Path, err, tail(out))
	}
	return nil
}

// makeDir makes the server's folder.
func (s *Server) makeDir(owner *syscall.Credential) (err error) {
	if s.dir, s.lock, err = newDir(rootDir(s.opts.Fsync)); err != nil {
		return err
	}
	return give(s.dir, owner)
}

// give makes a file the server's own.
func give(path string, owner *syscall.Credential) error {
	if owner == nil {
		return nil
	}
	return os.Chown(path, int(owner.Uid), int(owner.Gid))
}

// run starts the server on its port and waits until it answers.
func (s *Server) run(ctx context.Context) error {
	owner, err := serverUser()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(s.Log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	postgres := exec.Command(filepath.Join(s.bin.dir, "postgres"), s.arguments(s.opts)...)
	s.prepare(postgres, owner)
	postgres.Stdout, postgres.Stderr = log, log
	postgres.ExtraFiles = []*os.File{s.lock} // so that the folder stays locked while either of us lives
	if err := s.spawn(postgres); err != nil {
		return err
	}
	if err := s.answers(ctx); err != nil {
		s.halt()
		words, _ := os.ReadFile(log.Name()) // an empty log says nothing, which is what there is to say
		return fmt.Errorf("%w; its last words:\n%s", err, tail(words))
	}
	return nil
}

// arguments are the command line of the server.
func (s *Server) arguments(opts Options) []string {
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(s.port),
		"unix_socket_directories": s.dir,
		"max_connections":         strconv.Itoa(max(opts.MaxConnections, 0)),
		"logging_collector":       "off",
	}
	if opts.MaxConnections <= 0 {
		settings["max_connections"] = "100"
	}
	if !opts.Fsync {
		settings["fsync"] = "off"
		settings["synchronous_commit"] = "off"
		settings["full_page_writes"] = "off"
		settings["max_wal_size"] = "256MB" // it may be memory
	}
	args := []string{"-D", s.data()}
	for _, more := range []map[string]string{settings, opts.Settings} {
		for name, value := range more {
			args = append(args, "-c", name+"="+value)
		}
	}
	return args
}

// prepare gives a program of PostgreSQL its user, a clean environment and a process group of its own, so that a
// Ctrl-C in the terminal reaches us and not the server, which we end in good order.
func (s *Server) prepare(cmd *exec.Cmd, owner *syscall.Credential) {
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"} // nothing of PGDATA, PGPORT and the like
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: owner}
}

// spawn starts the server on a thread that lives as long as the server does: "signal me when my parent dies" means
// the thread that forked, to the kernel, and Go may end a thread that no goroutine holds.
func (s *Server) spawn(postgres *exec.Cmd) error {
	dieWithParent(postgres.SysProcAttr)
	s.ended = make(chan struct{})
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(s.ended)
		err := postgres.Start()
		started <- err
		if err == nil {
			s.exit = postgres.Wait()
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	s.process = postgres.Process
	return nil
}

// answers waits until the server takes a connection.
func (s *Server) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		conn, err := pgconn.Connect(ctx, s.URL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-s.ended:
			return fmt.Errorf("the server ended (%v)", s.exit)
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// halt ends the process, with SIGQUIT (PostgreSQL's immediate shutdown) and then for good. It may be called twice.
func (s *Server) halt() {
	if s.process == nil {
		return
	}
	_ = s.process.Signal(syscall.SIGQUIT) // fails only if it ended by itself
	select {
	case <-s.ended:
	case <-time.After(stopTimeout):
		_ = s.process.Kill()
		<-s.ended
	}
	s.process = nil
}

// remove gives back the folder.
func (s *Server) remove() error {
	if s.dir == "" {
		return nil
	}
	err := os.RemoveAll(s.dir)
	return errors.Join(err, s.lock.Close())
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// freePort asks the kernel for a port of the loopback address.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// tail is the end of a program's output.
func tail(out []byte) []byte {
	out = bytes.TrimSpace(out)
	return out[max(0, len(out)-logTail):]
}
