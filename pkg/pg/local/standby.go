package local

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
)

// Standby makes a hot standby of the server: a copy of it that follows it, in a folder and on a port of its own, with the
// same password and options. It answers reads and refuses writes until it is promoted (pg_promote() in SQL); then it is a
// server like any other. Whether the first one waits for it is up to that one's synchronous_standby_names.
//
// It needs pg_basebackup. Where that is missing, as in npm's PostgreSQL, the error is fs.ErrNotExist.
func (s *Server) Standby(ctx context.Context) (*Server, error) {
	standby := &Server{password: s.password, major: s.major, bin: s.bin, opts: s.opts}
	err := standby.follow(ctx, s)
	if err == nil {
		err = standby.begin(ctx)
	}
	if err != nil {
		standby.remove()
		return nil, fmt.Errorf("make a standby: %w", err)
	}
	return standby, nil
}

// follow copies the data of another server, and with them the order to follow it.
func (s *Server) follow(ctx context.Context, primary *Server) error {
	owner, err := serverUser()
	if err != nil {
		return err
	}
	if err := s.makeDir(owner); err != nil {
		return err
	}
	backup := exec.CommandContext(ctx, filepath.Join(s.bin.dir, "pg_basebackup"), "--pgdata", s.data(),
		"--host", primary.dir, "--port", strconv.Itoa(primary.port), "--username", user, // its socket asks for no password
		"--write-recovery-conf", "--wal-method", "stream", "--checkpoint", "fast", "--no-sync")
	s.prepare(backup, owner)
	if out, err := backup.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", backup.Path, err, tail(out))
	}
	return nil
}
