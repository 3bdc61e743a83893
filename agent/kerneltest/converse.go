package kerneltest

import (
	"bufio"
	"fmt"
)

// Converse starts a shell in a container, until the test ends. What it returns has the shell run a command, and returns
// as soon as that is over: microseconds after it, where Exec takes as long as a runtime does.
func Converse(tb TB, c *Container) func(command string) {
	tb.Helper()
	cmd := c.Command("/bin/sh", "-c", `while read -r line; do $line; echo over; done`)
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	return func(command string) {
		tb.Helper()
		if _, err := fmt.Fprintln(in, command); err != nil {
			tb.Fatal(err)
		}
		if !lines.Scan() {
			tb.Fatalf("the shell ended: %v", lines.Err())
		}
	}
}
