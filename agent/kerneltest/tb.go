package kerneltest

import "context"

// TB is the part of a testing.TB that containers need, so that a command can have some as well.
type TB interface {
	Helper()
	Context() context.Context
	Cleanup(f func())
	TempDir() string
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Skip(args ...any)
}
