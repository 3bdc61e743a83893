// Package killpoint kills a running program at the very moment at which it enters one of its functions: "after the
// candidates were stored, before that was acknowledged", say.
//
// The program is the one that is shipped and knows nothing of it: it has no switch that could be left on. While
// it is stopped, the first instructions of the function are overwritten in its memory, and in that of no other
// process, by a few that have the kernel kill it (SIGKILL). Then it goes on, until a thread gets there.
//
// A function that the compiler has inlined everywhere is never entered. Points says whether the program has such functions at
// all; that one is never reached shows only when it is not.
//
// It works on Linux on amd64, for programs that have a symbol table and are loaded where it says (go build's
// default), and for one's own children. Elsewhere everything returns errors.ErrUnsupported.
package killpoint
