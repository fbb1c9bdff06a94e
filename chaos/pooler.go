package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	osuser "os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// poolerConfig is PgBouncer's. It tries again at once when the server is back, not after its 15 s.
const poolerConfig = `[databases]
%s = host=127.0.0.1 port=%s dbname=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s
pool_mode = transaction
max_client_conn = 500
default_pool_size = 50
server_login_retry = 1
`

const poolerReady = 10 * time.Second

// startPooler starts PgBouncer, where it was asked for.
func (r *rig) startPooler(ctx context.Context) error {
	if !r.pooled {
		return nil
	}
	program, err := findPooler()
	if err != nil {
		return err
	}
	owner, err := poolerUser()
	if err != nil {
		return err
	}
	ini, err := r.configurePooler(owner)
	if err != nil {
		return err
	}
	cmd := exec.Command(program, ini)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: owner}
	if r.bouncer, err = launch("pgbouncer", filepath.Join(r.dir, "pgbouncer.log"), cmd); err != nil {
		return err
	}
	for deadline := time.Now().Add(poolerReady); ; sleep(ctx, 20*time.Millisecond) {
		conn, err := net.Dial("tcp", r.poolerAddress())
		if err == nil {
			return conn.Close()
		}
		if !r.bouncer.alive() || time.Now().After(deadline) {
			return fmt.Errorf("pgbouncer does not listen, see its log in %s: %w", r.dir, err)
		}
	}
}

// findPooler looks where Debian puts it, which is not in everybody's PATH.
func findPooler() (string, error) {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", skip("pgbouncer is not installed (Debian: apt-get install pgbouncer)")
}

// configurePooler writes its files into a folder that its user may read.
func (r *rig) configurePooler(owner *syscall.Credential) (ini string, err error) {
	if r.poolerPort, err = freePort(); err != nil {
		return "", err
	}
	dir := filepath.Join(r.dir, "pgbouncer")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	user := r.postgres.url.User
	password, _ := user.Password()
	ini = filepath.Join(dir, "pgbouncer.ini")
	users := filepath.Join(dir, "users.txt")
	for path, content := range map[string]string{
		ini:   fmt.Sprintf(poolerConfig, database, r.postgres.url.Port(), database, r.poolerPort, users),
		users: fmt.Sprintf("%q %q\n", user.Username(), password),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return "", err
		}
	}
	if owner == nil {
		return ini, nil
	}
	for _, path := range []string{dir, ini, users} {
		if err := os.Chown(path, int(owner.Uid), int(owner.Gid)); err != nil {
			return "", err
		}
	}
	return ini, nil
}

func (r *rig) poolerAddress() string { return net.JoinHostPort("127.0.0.1", r.poolerPort) }

// poolerUser is whom PgBouncer runs as: it refuses root. nil is ourselves.
func poolerUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := osuser.Lookup("nobody")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
