package rig

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Load is the machine's load average of the last minute: what else runs takes from everybody's figures.
func Load() string {
	file, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	last, _, _ := strings.Cut(string(file), " ")
	return last
}

// Save writes a file, its folder too, and says so.
func Save(path string, content []byte, progress io.Writer) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return err
	}
	fmt.Fprintln(progress, "wrote", path)
	return nil
}
