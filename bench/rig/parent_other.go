//go:build !linux

package rig

import "syscall"

// dieWithParent is nothing here: the workers of a benchmark that is killed go on.
func dieWithParent(*syscall.SysProcAttr) {}
