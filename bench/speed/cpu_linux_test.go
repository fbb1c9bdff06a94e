package main

import (
	"os"
	"testing"
)

func TestUsedCPUGrows(t *testing.T) {
	t.Parallel()
	before, err := cpuOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for after := before; after < before+2*tick; {
		if after, err = cpuOf(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	parent, err := parentOf(os.Getpid())
	if err != nil || parent != os.Getppid() {
		t.Errorf("the parent is %d, %v; want %d", parent, err, os.Getppid())
	}
	own, errOwn := cpuOf(parent)
	tree, err := cpuOfTree(parent) // later, as our parent goes on
	if err != nil || errOwn != nil || tree < own+before {
		t.Errorf("the tree of our parent used %v, it alone %v, we %v before (%v, %v)", tree, own, before, err, errOwn)
	}
}
