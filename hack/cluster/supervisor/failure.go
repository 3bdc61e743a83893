package supervisor

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
)

// How much of a log is shown when its daemon fails.
const (
	tailLines = 12
	tailBytes = 16 << 10
	// lineRunes cuts lines such as a dumped object.
	lineRunes = 400
)

// A DaemonError says which daemon failed and how, with the end of its log.
type DaemonError struct {
	Name, Reason, Log string
	// Tail is what the log ended with at the time of the failure.
	Tail []string
}

// NewDaemonError reads the end of the log now, before anything is added to it.
// What is before the offset is an earlier process' and is left out.
func NewDaemonError(name, reason, log string, offset int64) *DaemonError {
	return &DaemonError{Name: name, Reason: reason, Log: log, Tail: tail(log, offset)}
}

func (e *DaemonError) Error() string {
	if len(e.Tail) == 0 {
		return fmt.Sprintf("%s %s\n  it has logged nothing: %s", e.Name, e.Reason, e.Log)
	}
	return fmt.Sprintf("%s %s\n  the last lines of %s:\n    %s", e.Name, e.Reason, e.Log, strings.Join(e.Tail, "\n    "))
}

// tail returns the last lines of a file from the offset on, or none when it cannot be read.
func tail(path string, offset int64) []string {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = file.Close() }() // only read
	info, err := file.Stat()
	if err != nil {
		return nil
	}
	offset = max(offset, info.Size()-tailBytes)
	text, err := io.ReadAll(io.NewSectionReader(file, offset, tailBytes))
	if err != nil || len(text) == 0 {
		return nil
	}
	lines := strings.Split(strings.Trim(string(text), "\n"), "\n")
	lines = lines[max(0, len(lines)-tailLines):]
	for i, line := range lines {
		lines[i] = printable(line)
	}
	return lines
}

// printable makes a log line fit for a terminal: a daemon logs what pods and
// users named things.
func printable(line string) string {
	line = strings.Map(func(r rune) rune {
		if r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, line)
	if runes := []rune(line); len(runes) > lineRunes {
		return string(runes[:lineRunes]) + "…"
	}
	return line
}
