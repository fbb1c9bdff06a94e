package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// tick is the unit of times in /proc/PID/stat: the kernel tells them in hundredths of a second on every machine.
const tick = 10 * time.Millisecond

// stat is what /proc/PID/stat tells of a process.
type stat struct {
	parent        int
	own, children time.Duration // CPU; of children, only of those that have ended
}

// Where the fields stand after the name.
const (
	statParent = 1
	statUser   = 11 // then system, and both of ended children
)

func statOf(pid int) (s stat, err error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	content, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	fields := bytes.Fields(content[bytes.LastIndexByte(content, ')')+1:]) // the name may hold anything
	number := func(i int) (n int) {
		if err == nil && i < len(fields) {
			n, err = strconv.Atoi(string(fields[i]))
		}
		return n
	}
	s.parent = number(statParent)
	s.own = time.Duration(number(statUser)+number(statUser+1)) * tick
	s.children = time.Duration(number(statUser+2)+number(statUser+3)) * tick
	return s, err
}

func parentOf(pid int) (int, error) {
	s, err := statOf(pid)
	return s.parent, err
}

// cpuOf is what a process has used.
func cpuOf(pid int) (time.Duration, error) {
	s, err := statOf(pid)
	return s.own, err
}

// cpuOfTree is what a process and its children have used, those that have ended too.
func cpuOfTree(root int) (time.Duration, error) {
	s, err := statOf(root)
	if err != nil {
		return 0, err
	}
	sum := s.own + s.children
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, path := range all {
		pid, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			return 0, err
		}
		child, err := statOf(pid)
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH): // it has just ended
		case err != nil:
			return 0, err
		case child.parent == root:
			sum += child.own
		}
	}
	return sum, nil
}
