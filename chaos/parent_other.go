//go:build !linux

package main

import "syscall"

// dieWithParent is nothing here: the processes of a rig that is killed go on.
func dieWithParent(*syscall.SysProcAttr) {}
