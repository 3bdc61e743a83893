package session

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// tick is the unit of times in /proc: USER_HZ is 100 on every architecture that the agent runs on.
const tick = 10_000_000 // ns

// startOf reads when a process started, in ticks since boot. One that is gone
// started at 0.
func startOf(pid uint32) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the start of process %d: %w", pid, err)
	}
	return parseStart(string(b))
}

// parseStart reads the 22nd field of a stat file. The second is the command's name, in
// parentheses, and may hold anything, parentheses too.
func parseStart(stat string) (uint64, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const start = 22 - 3 // the first field after the name is the third
	if len(fields) <= start {
		return 0, errors.New("read the start of a process: its stat file is too short")
	}
	return strconv.ParseUint(fields[start], 10, 64)
}

// sameTick says whether a start in ticks is one in nanoseconds. One that is
// gone passes: the signal will not reach it.
func sameTick(ticks, ns uint64) bool {
	return ticks == 0 || ticks == ns/tick
}
