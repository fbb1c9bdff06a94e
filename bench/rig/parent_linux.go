package rig

import "syscall"

// dieWithParent has the kernel end the child if the benchmark is killed.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGTERM }
