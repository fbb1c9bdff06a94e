//go:build !linux

package main

import "syscall"

// dieWithParent can do nothing here: a demo that is killed leaves its children running.
func dieWithParent(*syscall.SysProcAttr) {}
