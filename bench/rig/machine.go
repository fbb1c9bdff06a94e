package rig

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
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

var (
	cpuModel    = regexp.MustCompile(`(?m)^model name\s*:\s*(.+)$`)
	totalMemory = regexp.MustCompile(`MemTotal:\s*(\d+) kB`)
)

// Machine says in words what this runs on, as far as the system tells.
func Machine() string {
	words := fmt.Sprintf("%d CPUs", runtime.NumCPU())
	if model := firstIn("/proc/cpuinfo", cpuModel); model != "" {
		words += " (" + model + ")"
	}
	if kib, err := strconv.ParseInt(firstIn("/proc/meminfo", totalMemory), 10, 64); err == nil {
		words += fmt.Sprintf(", %d GB of memory", (kib+1<<19)>>20)
	}
	return words + ", " + runtime.GOOS
}

// firstIn is the first submatch in a file; "" where there is none.
func firstIn(path string, pattern *regexp.Regexp) string {
	content, _ := os.ReadFile(path) // not every system has it
	if found := pattern.FindSubmatch(content); found != nil {
		return string(found[1])
	}
	return ""
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
