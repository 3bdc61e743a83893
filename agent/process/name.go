package process

import (
	"path"
	"strings"

	"github.com/portcullis-dev/portcullis/agent/bpf"
)

// commSize is how much of a name the kernel keeps as a process' command name.
const commSize = 15

// name is process.name of the program that a record shows.
func name(r *bpf.Record) string {
	executable := base(r.Executable)
	switch {
	case isMulticall(executable) && len(r.Args) > 0 && applet(r.Args[0]) != "":
		return applet(r.Args[0])
	case isName(r.Interpreter):
		return base(r.Interpreter)
	case len(r.Args) > 0 && executedAs(applet(r.Args[0]), r.Comm):
		return applet(r.Args[0])
	case executable != "":
		return executable
	default:
		return r.Comm
	}
}

// parentName is the name of a parent of which no more is known than this.
func parentName(executable, comm string) string {
	if n := base(executable); n != "" && !isMulticall(n) {
		return n
	}
	return comm
}

func base(p string) string {
	if p == "" || p == "/" {
		return ""
	}
	return path.Base(p)
}

func isMulticall(executable string) bool {
	return strings.HasPrefix(executable, "busybox") || strings.HasPrefix(executable, "toybox") || executable == "coreutils"
}

// applet is the name in a first argument. A login shell's begins with a dash.
func applet(arg string) string { return strings.TrimLeft(base(arg), "-") }

// isName says whether the path that an exec named tells the program's name:
// those of open files (/proc/self/exe, /dev/fd/3) do not.
func isName(executed string) bool {
	return executed != "" && !strings.HasPrefix(executed, "/proc/") && !strings.HasPrefix(executed, "/dev/fd/")
}

// executedAs says whether a process that already ran bears this name: the
// kernel kept its beginning when the program was executed.
func executedAs(name, comm string) bool {
	return name != "" && name[:min(len(name), commSize)] == comm
}
