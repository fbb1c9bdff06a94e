package main

import "syscall"

// dieWithParent has the kernel end the child if the rig is killed. A stopped process obeys no other signal.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
