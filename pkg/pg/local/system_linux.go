package local

import "syscall"

const (
	memoryRoot = "/dev/shm"
	memoryRoom = 4 << 30 // bytes; containers often have 64 MiB there, which is not enough for anything

	mayWrite = 2 // W_OK of access(2)
)

// roomy reports whether dir can take a few servers.
func roomy(dir string) bool {
	var fs syscall.Statfs_t
	return syscall.Statfs(dir, &fs) == nil && fs.Bavail*uint64(fs.Bsize) >= memoryRoom && syscall.Access(dir, mayWrite) == nil
}

// dieWithParent lets the kernel shut the child down when the thread that started it ends.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGQUIT }
