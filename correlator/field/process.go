package field

import (
	"math"
	"strings"

	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

func processOf(e *event.Event, create bool) *event.Process {
	if e.Process == nil && create {
		e.Process = &event.Process{}
	}
	return e.Process
}

func parentOf(e *event.Event, create bool) *event.ProcessRef {
	p := processOf(e, create)
	if p == nil {
		return nil
	}
	if p.Parent == nil && create {
		p.Parent = &event.ProcessRef{}
	}
	return p.Parent
}

func leaderOf(e *event.Event, create bool) *event.EntryLeader {
	p := processOf(e, create)
	if p == nil {
		return nil
	}
	if p.EntryLeader == nil && create {
		p.EntryLeader = &event.EntryLeader{}
	}
	return p.EntryLeader
}

func processFields() []definition {
	type process = event.Process
	args := func(p *process) *[]string { return &p.Args }
	return []definition{
		textRow("process.name", agent, "The program's name.", processOf, func(p *process) *string { return &p.Name }),
		textRow("process.executable", agent, "The program's path.", processOf, func(p *process) *string { return &p.Executable }),
		textsRow("process.args", agent, "The arguments, the program's own name first.", processOf, args),
		ifTrue(flagRow("process.args_truncated", agent, "Whether there were more arguments than are reported.",
			processOf, func(p *process) *bool { return &p.ArgsTruncated })),
		derivedRow("process.command_line", value.Keyword, agent, "The arguments, separated by spaces.", func(r *Record) value.Value {
			if r.event.Process == nil {
				return value.Missing()
			}
			return r.join(&r.commandLine, r.event.Process.Args)
		}, fillArgs(processOf, args)),
		derivedRow("process.args_count", value.Number, agent, "How many arguments are reported.", func(r *Record) value.Value {
			if r.event.Process == nil {
				return value.Missing()
			}
			return value.Int(int64(len(r.event.Process.Args)))
		}, fillArgsCount(processOf, args)),
		textRow("process.working_directory", agent, "The working directory.", processOf, func(p *process) *string { return &p.WorkingDirectory }),
		textRow("process.entity_id", agent, "A name of the process that is never used again.", processOf, func(p *process) *string { return &p.EntityID }),
		flagRow("process.interactive", agent, "Whether its controlling terminal is its stdin and stderr.",
			processOf, func(p *process) *bool { return &p.Interactive }),
		numberRow("process.pid", agent, "The process ID as the node sees it.", processOf, func(p *process) *uint32 { return &p.PID }),
		exitCode(),
		{
			Info: Info{Name: "portcullis.process.exit_signal", Type: value.Number, Source: agent,
				Doc: "The signal that ended the process, missing if none did."},
			get: func(r *Record) value.Value {
				if p := exitOf(r.event, false); p != nil && p.Signal != 0 {
					return value.Int(int64(p.Signal))
				}
				return value.Missing()
			},
			set: func(e *event.Event, given input) error {
				n, err := given.whole(0, maxSignal)
				exitOf(e, true).Signal = int(n)
				return err
			},
		},
		deviceRow("process.tty.char_device.major", "The major number of the controlling terminal, missing without one.", major, setMajor),
		deviceRow("process.tty.char_device.minor", "The minor number of the controlling terminal, missing without one.", minor, setMinor),
	}
}

// maxSignal is beyond all signals.
const maxSignal = 255

func exitOf(e *event.Event, create bool) *event.ProcessExit {
	p := processOf(e, create)
	if p == nil {
		return nil
	}
	if p.Exit == nil && create {
		p.Exit = &event.ProcessExit{}
	}
	return p.Exit
}

func exitCode() definition {
	return definition{
		Info: Info{Name: "process.exit_code", Type: value.Number, Source: agent,
			Doc: "What the process ended with, or 128 more than the signal that ended it."},
		get: func(r *Record) value.Value {
			if p := exitOf(r.event, false); p != nil {
				return value.Int(int64(p.Code))
			}
			return value.Missing()
		},
		set: func(e *event.Event, given input) error {
			n, err := given.whole(math.MinInt32, math.MaxInt32)
			exitOf(e, true).Code = int(n)
			return err
		},
	}
}

func parentFields() []definition {
	type parent = event.ProcessRef
	args := func(p *parent) *[]string { return &p.Args }
	return []definition{
		textRow("process.parent.name", agent, "The parent's name.", parentOf, func(p *parent) *string { return &p.Name }),
		textRow("process.parent.executable", agent, "The parent's path.", parentOf, func(p *parent) *string { return &p.Executable }),
		textsRow("process.parent.args", agent, "The parent's arguments.", parentOf, args),
		derivedRow("process.parent.command_line", value.Keyword, agent, "The parent's arguments, separated by spaces.", func(r *Record) value.Value {
			if p := parentOf(r.event, false); p != nil {
				return r.join(&r.parentCommandLine, p.Args)
			}
			return value.Missing()
		}, fillArgs(parentOf, args)),
		derivedRow("process.parent.args_count", value.Number, agent, "How many of the parent's arguments are reported.", func(r *Record) value.Value {
			if p := parentOf(r.event, false); p != nil {
				return value.Int(int64(len(p.Args)))
			}
			return value.Missing()
		}, fillArgsCount(parentOf, args)),
		textRow("process.parent.entity_id", agent, "A name of the parent that is never used again.", parentOf, func(p *parent) *string { return &p.EntityID }),
		flagRow("process.parent.interactive", agent, "Whether the parent is interactive.", parentOf, func(p *parent) *bool { return &p.Interactive }),
		// The process knows its parent's ID even where nothing else is known of it.
		numberRow("process.parent.pid", agent, "The parent's process ID as the node sees it.",
			processOf, func(p *event.Process) *uint32 { return &p.PPID }),
	}
}

func entryLeaderFields() []definition {
	type leader = event.EntryLeader
	return []definition{
		numberRow("process.entry_leader.pid", agent, "Process ID of the session's or container's first process.",
			leaderOf, func(l *leader) *uint32 { return &l.PID }),
		textRow("process.entry_leader.entity_id", agent, "A name of it that is never used again.", leaderOf, func(l *leader) *string { return &l.EntityID }),
		textRow("process.entry_leader.entry_meta.type", agent, "container for what a container runtime started.",
			leaderOf, func(l *leader) *string { return &l.MetaType }),
		flagRow("process.entry_leader.same_as_process", agent, "Whether the process is itself the first one.",
			leaderOf, func(l *leader) *bool { return &l.SameAsProcess }),
		flagRow("process.entry_leader.interactive", agent, "Whether the first process is interactive; redirections later on do not change it.",
			leaderOf, func(l *leader) *bool { return &l.Interactive }),
		{
			Info: Info{Name: "portcullis.entry_leader.began", Type: value.Keyword, Source: agent,
				Doc: "How it came into its container: container, session or session-or-probe."},
			get: func(r *Record) value.Value {
				if l := leaderOf(r.event, false); l != nil {
					return textValue(string(l.Began))
				}
				return value.Missing()
			},
			set: func(e *event.Event, given input) error {
				text, err := given.text()
				leaderOf(e, true).Began = event.Began(text)
				return err
			},
		},
	}
}

// fillArgs makes arguments of a command line.
func fillArgs[T any](in part[T], args func(*T) *[]string) setter {
	return func(e *event.Event, given input) error {
		line, err := given.text()
		if p := args(in(e, true)); len(*p) == 0 && line != "" {
			*p = strings.Split(line, " ")
		}
		return err
	}
}

// maxFilled bounds the arguments that are made up for a count.
const maxFilled = 1024

// fillArgsCount makes as many arguments, all empty.
func fillArgsCount[T any](in part[T], args func(*T) *[]string) setter {
	return func(e *event.Event, given input) error {
		p := args(in(e, true))
		if len(*p) > 0 {
			return nil
		}
		n, err := given.whole(0, maxFilled)
		if n > 0 {
			*p = make([]string, n)
		}
		return err
	}
}

// deviceRow is a part of the controlling terminal's device number, which is
// written as stat(2) does.
func deviceRow(name, doc string, of func(dev uint32) uint32, with func(dev, part uint32) uint32) definition {
	return definition{
		Info: Info{Name: name, Type: value.Number, Source: agent, Doc: doc},
		get: func(r *Record) value.Value {
			if r.event.Process == nil || r.event.Process.TTY == 0 {
				return value.Missing()
			}
			return value.Int(int64(of(r.event.Process.TTY)))
		},
		set: func(e *event.Event, given input) error {
			n, err := given.whole(0, int64(of(1<<32-1)))
			p := processOf(e, true)
			p.TTY = with(p.TTY, uint32(n)) //nolint:gosec // whole has checked it
			return err
		},
	}
}

func major(dev uint32) uint32 { return dev >> 8 & 0xfff }

func minor(dev uint32) uint32 { return dev&0xff | dev>>12&0xfff00 }

func setMajor(dev, n uint32) uint32 { return dev&^(0xfff<<8) | n<<8 }

func setMinor(dev, n uint32) uint32 { return dev&(0xfff<<8) | n&0xff | n&^0xff<<12 }
