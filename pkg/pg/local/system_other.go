//go:build !linux

package local

import "syscall"

// memoryRoot exists on Linux alone.
const memoryRoot = "/nonexistent"

func roomy(string) bool { return false }

// dieWithParent can do nothing here: only Stop ends the server.
func dieWithParent(*syscall.SysProcAttr) {}
