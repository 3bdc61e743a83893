package field

import (
	"strconv"

	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

const (
	agent = "agent"
	audit = "audit"
	both  = "agent, audit"
)

// Constructors of rows, by type. The getter's argument is never nil.

func text(name, source, doc string, get func(*event.Event) string) definition {
	return definition{Info{Name: name, Type: value.Keyword, Doc: doc, Source: source},
		func(r *Record) value.Value { return textValue(get(r.event)) }}
}

func texts(name, source, doc string, get func(*event.Event) []string) definition {
	return definition{Info{Name: name, Type: value.Keyword, Many: true, Doc: doc, Source: source},
		func(r *Record) value.Value { return value.Strings(get(r.event)) }}
}

func row(name string, t value.Type, source, doc string, get getter) definition {
	return definition{Info{Name: name, Type: t, Doc: doc, Source: source}, get}
}

func textValue(s string) value.Value {
	if s == "" {
		return value.Missing()
	}
	return value.String(s)
}

func numberValue(n uint32) value.Value {
	if n == 0 {
		return value.Missing()
	}
	return value.Int(int64(n))
}

func eventFields() []definition {
	dataset := func(e *event.Event) string { return e.Dataset }
	return []definition{
		texts("event.category", both, "ECS category; audit events have none, `any where` still matches them.",
			func(e *event.Event) []string { return e.Category }),
		texts("event.type", both, "ECS type, such as start or change.", func(e *event.Event) []string { return e.Type }),
		texts("event.action", both, "What happened, such as exec or open.", func(e *event.Event) []string { return e.Action }),
		text("event.dataset", both, "kubernetes.audit_logs for audit events.", dataset),
		text("data_stream.dataset", both, "Equals event.dataset.", dataset),
		text("event.id", both, "A hash of the event.", func(e *event.Event) string { return e.ID }),
	}
}

func hostFields() []definition {
	inPod := func(get func(*event.Event) string) func(*event.Event) string {
		return func(e *event.Event) string {
			if e.Kind != event.KindProcess && e.Kind != event.KindFile {
				return ""
			}
			return get(e)
		}
	}
	node := inPod(func(e *event.Event) string { return e.Pod.Node })
	return []definition{
		text("host.os.type", agent, "Always linux.", inPod(func(*event.Event) string { return "linux" })),
		text("host.os.family", agent, "Always linux.", inPod(func(*event.Event) string { return "linux" })),
		text("host.name", agent, "The node's name.", node),
		text("host.hostname", agent, "The node's name.", node),
	}
}

func orchestratorFields() []definition {
	ofPod := func(s string) func(*event.Event) string {
		return func(e *event.Event) string {
			if e.Pod.IsZero() {
				return ""
			}
			return s
		}
	}
	return []definition{
		row("orchestrator.resource.name", value.Reference, agent,
			"The pod in which it happened: reads as its name, joins by its identity.",
			func(r *Record) value.Value { return r.podRef(r.event.Pod) }),
		text("orchestrator.resource.id", agent, "The pod's UID.", func(e *event.Event) string { return e.Pod.UID }),
		text("orchestrator.resource.type", agent, "Always pod.", ofPod("pod")),
		{Info{Name: "orchestrator.resource.label", Type: value.Keyword, Many: true, Source: agent,
			Doc: "The pod's labels, each as key:value."}, podLabels},
		text("orchestrator.namespace", agent, "The pod's namespace.", func(e *event.Event) string { return e.Pod.Namespace }),
		text("orchestrator.type", agent, "Always kubernetes.", ofPod("kubernetes")),
	}
}

func podLabels(r *Record) value.Value {
	if !r.labelsKnown {
		r.labelsKnown = true
		for k, v := range r.event.Pod.Labels {
			r.labels = append(r.labels, k+":"+v)
		}
	}
	return value.Strings(r.labels)
}

func containerFields() []definition {
	of := func(get func(*event.Container) string) func(*event.Event) string {
		return func(e *event.Event) string {
			if e.Container == nil {
				return ""
			}
			return get(e.Container)
		}
	}
	return []definition{
		text("container.id", agent, "The container's ID at its runtime.", of(func(c *event.Container) string { return c.ID })),
		text("container.name", agent, "The container's name within its pod.", of(func(c *event.Container) string { return c.Name })),
		text("container.image.name", agent, "The image, without tag and digest.", of(func(c *event.Container) string {
			name, _ := splitImage(c.Image)
			return name
		})),
		text("container.image.tag", agent, "The image's tag.", of(func(c *event.Container) string {
			_, tag := splitImage(c.Image)
			return tag
		})),
		row("container.security_context.privileged", value.Boolean, agent, "Whether the container is privileged.",
			func(r *Record) value.Value {
				if c := r.event.Container; c != nil && c.Privileged != nil {
					return value.Bool(*c.Privileged)
				}
				return value.Missing()
			}),
	}
}

func fileFields() []definition {
	of := func(get func(*event.File) string) func(*event.Event) string {
		return func(e *event.Event) string {
			if e.File == nil {
				return ""
			}
			return get(e.File)
		}
	}
	return []definition{
		text("file.path", agent, "The path as the container names it, before symbolic links.",
			of(func(f *event.File) string { return f.Path })),
		text("file.name", agent, "The last element of file.path.", of(func(f *event.File) string {
			_, name := splitPath(f.Path)
			return name
		})),
		text("file.directory", agent, "file.path without its last element.", of(func(f *event.File) string {
			directory, _ := splitPath(f.Path)
			return directory
		})),
		text("file.extension", agent, "What follows the last dot of file.name.", of(func(f *event.File) string { return extension(f.Path) })),
		text("file.target_path", agent, "The path that the kernel opened, links followed.",
			of(func(f *event.File) string { return f.ResolvedPath })),
	}
}

func userFields() []definition {
	return []definition{
		text("user.id", both, "The numeric user of the process; the UID that the API server knows the caller by.",
			func(e *event.Event) string {
				switch {
				case e.Process != nil:
					return strconv.FormatUint(uint64(e.Process.UID), 10)
				case e.Audit != nil:
					return e.Audit.User.UID
				default:
					return ""
				}
			}),
		text("user.name", audit, "The authenticated user of an API request.", func(e *event.Event) string {
			if e.Audit == nil {
				return ""
			}
			return e.Audit.User.Username
		}),
		text("group.id", agent, "The numeric group of the process.", func(e *event.Event) string {
			if e.Process == nil {
				return ""
			}
			return strconv.FormatUint(uint64(e.Process.GID), 10)
		}),
	}
}
