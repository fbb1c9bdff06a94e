package telemetry

import (
	"io"
	"log/slog"
	"os"
)

// Keys of the log that every process uses for the same thing. The concepts write them as they are.
var Keys = []string{"job_id", "attempt", "upstream", "model", "type", "worker_id", "request_id", "trace_id"}

// Logger writes lines of text to a terminal, and JSON anywhere else.
func Logger(out io.Writer, level slog.Level) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if isTerminal(out) {
		return slog.New(slog.NewTextHandler(out, options))
	}
	return slog.New(slog.NewJSONHandler(out, options))
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
