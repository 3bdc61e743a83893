package sessions

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/portcullis-dev/portcullis/ctl/output"
	"github.com/portcullis-dev/portcullis/execsession"
)

// deepest is how far a tree is indented: below it, all stand at that depth.
const deepest = 24

// branch is a process of a tree, with what stands before its command.
type branch struct {
	*execsession.Process
	before string
}

// tree orders processes so that each stands below its parent, as far as that is among them. Each stands there
// once, whatever they say about their parents.
func tree(processes []execsession.Process) []branch {
	known := map[string]bool{}
	for i := range processes {
		known[processes[i].EntityID] = true
	}
	children := map[string][]int{}
	var roots []int
	for i := range processes {
		if parent := processes[i].ParentEntityID; parent != processes[i].EntityID && known[parent] {
			children[parent] = append(children[parent], i)
		} else {
			roots = append(roots, i)
		}
	}
	t := climber{processes: processes, children: children, seen: make([]bool, len(processes))}
	for _, root := range roots {
		t.climb(root)
	}
	for i := range processes { // what is left names itself among its own ancestors
		t.climb(i)
	}
	return t.out
}

type climber struct {
	processes []execsession.Process
	children  map[string][]int
	seen      []bool
	out       []branch
}

// climb adds a process and all below it, the deepest first, without recursion.
func (t *climber) climb(root int) {
	type step struct {
		process, depth int
		// before stands before it, indent before what is below it.
		before, indent string
	}
	waiting := []step{{process: root}}
	for len(waiting) > 0 {
		at := waiting[len(waiting)-1]
		waiting = waiting[:len(waiting)-1]
		if t.seen[at.process] {
			continue
		}
		t.seen[at.process] = true
		p := &t.processes[at.process]
		t.out = append(t.out, branch{p, at.before})
		below := t.children[p.EntityID]
		for i := len(below) - 1; i >= 0; i-- {
			next := step{process: below[i], depth: at.depth + 1, before: at.indent + "├─ ", indent: at.indent + "│  "}
			if i == len(below)-1 {
				next.before, next.indent = at.indent+"└─ ", at.indent+"   "
			}
			if next.depth > deepest {
				next.before, next.indent = at.before, at.indent
			}
			waiting = append(waiting, next)
		}
	}
}

func showTree(w io.Writer, d *execsession.Document, zero time.Time) error {
	if len(d.Processes) == 0 {
		return nil
	}
	fmt.Fprintf(w, "\nProcesses:\n")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "  PID\tSTARTED\tENDED\tEXIT\tCOMMAND\n")
	for _, b := range tree(d.Processes) {
		code := unknown
		if b.ExitCode != nil {
			code = fmt.Sprint(*b.ExitCode)
		}
		fmt.Fprintf(tw, "  %d\t%s\t%s\t%s\t%s%s\n", b.PID, relative(b.Start, zero), relative(b.End, zero), code, b.before, commandOf(b.Process))
	}
	if d.ProcessesDropped > 0 {
		fmt.Fprintf(tw, "  %d more were not kept\n", d.ProcessesDropped)
	}
	return tw.Flush()
}

// commandOf is what a process runs; the file is added where the arguments call it otherwise.
func commandOf(p *execsession.Process) string {
	line := command(p.Args)
	switch {
	case len(p.Args) == 0 && p.Executable != "":
		return output.Text(p.Executable)
	case len(p.Args) == 0:
		return orUnknown(p.Name)
	case p.Executable != "" && base(p.Executable) != base(p.Args[0]):
		return line + "  [" + output.Text(p.Executable) + "]"
	default:
		return line
	}
}

func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
