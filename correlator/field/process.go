package field

import (
	"strings"

	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

func processFields() []definition {
	of := func(get func(*event.Process) value.Value) getter {
		return func(r *Record) value.Value {
			if r.event.Process == nil {
				return value.Missing()
			}
			return get(r.event.Process)
		}
	}
	return append(commonProcessFields(),
		row("process.command_line", value.Keyword, agent, "The arguments, separated by spaces.", func(r *Record) value.Value {
			if r.event.Process == nil {
				return value.Missing()
			}
			return r.commandLine.join(r.event.Process.Args)
		}),
		row("process.interactive", value.Boolean, agent, "Whether its controlling terminal is its stdin and stderr.",
			of(func(p *event.Process) value.Value { return value.Bool(p.Interactive) })),
		row("process.args_truncated", value.Boolean, agent, "Whether there were more arguments than are reported.",
			of(func(p *event.Process) value.Value { return value.Bool(p.ArgsTruncated) })),
		row("process.args_count", value.Number, agent, "How many arguments are reported.",
			of(func(p *event.Process) value.Value { return value.Int(int64(len(p.Args))) })),
		row("process.pid", value.Number, agent, "The process ID as the node sees it.",
			of(func(p *event.Process) value.Value { return numberValue(p.PID) })),
	)
}

// commonProcessFields are the plain texts of the process.
func commonProcessFields() []definition {
	of := func(get func(*event.Process) string) func(*event.Event) string {
		return func(e *event.Event) string {
			if e.Process == nil {
				return ""
			}
			return get(e.Process)
		}
	}
	return []definition{
		text("process.name", agent, "The program's name.", of(func(p *event.Process) string { return p.Name })),
		text("process.executable", agent, "The program's path.", of(func(p *event.Process) string { return p.Executable })),
		texts("process.args", agent, "The arguments, the program's own name first.", func(e *event.Event) []string {
			if e.Process == nil {
				return nil
			}
			return e.Process.Args
		}),
		text("process.working_directory", agent, "The working directory.", of(func(p *event.Process) string { return p.WorkingDirectory })),
		text("process.entity_id", agent, "A name of the process that is never used again.", of(func(p *event.Process) string { return p.EntityID })),
	}
}

func parentFields() []definition {
	parent := func(e *event.Event) *event.ProcessRef {
		if e.Process == nil {
			return nil
		}
		return e.Process.Parent
	}
	of := func(get func(*event.ProcessRef) value.Value) getter {
		return func(r *Record) value.Value {
			if p := parent(r.event); p != nil {
				return get(p)
			}
			return value.Missing()
		}
	}
	return []definition{
		row("process.parent.name", value.Keyword, agent, "The parent's name.",
			of(func(p *event.ProcessRef) value.Value { return textValue(p.Name) })),
		row("process.parent.executable", value.Keyword, agent, "The parent's path.",
			of(func(p *event.ProcessRef) value.Value { return textValue(p.Executable) })),
		texts("process.parent.args", agent, "The parent's arguments.", func(e *event.Event) []string {
			if p := parent(e); p != nil {
				return p.Args
			}
			return nil
		}),
		row("process.parent.command_line", value.Keyword, agent, "The parent's arguments, separated by spaces.",
			func(r *Record) value.Value {
				if p := parent(r.event); p != nil {
					return r.parentCommandLine.join(p.Args)
				}
				return value.Missing()
			}),
		row("process.parent.entity_id", value.Keyword, agent, "A name of the parent that is never used again.",
			of(func(p *event.ProcessRef) value.Value { return textValue(p.EntityID) })),
		row("process.parent.interactive", value.Boolean, agent, "Whether the parent is interactive.",
			of(func(p *event.ProcessRef) value.Value { return value.Bool(p.Interactive) })),
		// The process knows its parent's ID even where nothing else is known of it.
		row("process.parent.pid", value.Number, agent, "The parent's process ID as the node sees it.",
			func(r *Record) value.Value {
				if r.event.Process == nil {
					return value.Missing()
				}
				return numberValue(r.event.Process.PPID)
			}),
	}
}

func entryLeaderFields() []definition {
	of := func(get func(*event.EntryLeader) value.Value) getter {
		return func(r *Record) value.Value {
			if r.event.Process == nil || r.event.Process.EntryLeader == nil {
				return value.Missing()
			}
			return get(r.event.Process.EntryLeader)
		}
	}
	return []definition{
		row("process.entry_leader.pid", value.Number, agent, "Process ID of the session's or container's first process.",
			of(func(l *event.EntryLeader) value.Value { return numberValue(l.PID) })),
		row("process.entry_leader.entity_id", value.Keyword, agent, "A name of it that is never used again.",
			of(func(l *event.EntryLeader) value.Value { return textValue(l.EntityID) })),
		row("process.entry_leader.entry_meta.type", value.Keyword, agent, "container for what a container runtime started.",
			of(func(l *event.EntryLeader) value.Value { return textValue(l.MetaType) })),
		row("process.entry_leader.same_as_process", value.Boolean, agent, "Whether the process is itself the first one.",
			of(func(l *event.EntryLeader) value.Value { return value.Bool(l.SameAsProcess) })),
		row("process.entry_leader.interactive", value.Boolean, agent,
			"Whether the first process is interactive; redirections later on do not change it.",
			of(func(l *event.EntryLeader) value.Value { return value.Bool(l.Interactive) })),
	}
}

// cachedText is a text that is computed at most once per event.
type cachedText struct {
	text  string
	known bool
}

func (c *cachedText) join(args []string) value.Value {
	if !c.known {
		c.text, c.known = strings.Join(args, " "), true
	}
	return textValue(c.text)
}

// splitImage separates an image reference's name and tag. A digest belongs to neither.
func splitImage(image string) (name, tag string) {
	name, _, _ = strings.Cut(image, "@")
	// A colon before the last slash is a registry's port.
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		return name[:colon], name[colon+1:]
	}
	return name, ""
}

// splitPath separates a path's directory and last element.
func splitPath(path string) (directory, name string) {
	slash := strings.LastIndexByte(path, '/')
	switch {
	case slash < 0:
		return "", path
	case slash == 0:
		return "/", path[1:]
	default:
		return path[:slash], path[slash+1:]
	}
}

// extension is what follows a name's last dot. A leading dot hides a file, it
// starts no extension.
func extension(path string) string {
	_, name := splitPath(path)
	dot := strings.LastIndexByte(name, '.')
	if dot <= 0 {
		return ""
	}
	return name[dot+1:]
}
