package local

import (
	"errors"
	"os"
	osuser "os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// A server's folder holds a file that its starter and the server keep locked. The kernel drops a lock with its last
// holder, so an unlocked folder is what a killed run left behind.
const (
	dirPrefix = "sluice-pg-"
	lockName  = "lock"
	sweepAge  = time.Minute // younger folders may be about to be locked
)

// newDir makes a folder below root, locked by the file it returns.
func newDir(root string) (string, *os.File, error) {
	dir, err := os.MkdirTemp(root, dirPrefix)
	if err != nil {
		return "", nil, err
	}
	lock, err := os.Create(filepath.Join(dir, lockName))
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, lock, nil
}

// rootDir is where a server's folder goes. One that need not survive a crash needs no disk: in memory a database is
// cloned in 20 ms, and on a slow disk, which has to make its 300 files, in 300.
func rootDir(durable bool) string {
	if !durable && roomy(memoryRoot) {
		return memoryRoot
	}
	return diskRoot()
}

// diskRoot is the folder for temporary files, unless that is too deep for a unix socket, or, for root, perhaps closed
// to the user that the server runs as.
func diskRoot() string {
	if dir := os.TempDir(); len(dir) <= maxSocketDir && os.Geteuid() != 0 {
		return dir
	}
	return "/tmp"
}

// sweep removes the folders that killed runs left behind, as far as it may: another user's are not ours to remove.
func sweep() {
	var locks []string
	for _, root := range []string{diskRoot(), memoryRoot} {
		found, _ := filepath.Glob(filepath.Join(root, dirPrefix+"*", lockName)) // the only error is a bad pattern
		locks = append(locks, found...)
	}
	for _, path := range locks {
		info, err := os.Lstat(path)
		if err != nil || !info.Mode().IsRegular() || time.Since(info.ModTime()) < sweepAge {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(filepath.Dir(path))
		}
		f.Close()
	}
}

// serverUser is the user to run the server as: postgres, or else nobody, if we are root, whom PostgreSQL refuses.
// Otherwise it is nil, for our own.
func serverUser() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	var errs []error
	for _, name := range []string{"postgres", "nobody"} {
		u, err := osuser.Lookup(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.Join(append(errs, errors.New("PostgreSQL refuses to run as root, and there is no other user"))...)
}
