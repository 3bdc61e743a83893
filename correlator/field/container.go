package field

import (
	"strings"

	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

func containerOf(e *event.Event, create bool) *event.Container {
	if e.Container == nil && create {
		e.Container = &event.Container{}
	}
	return e.Container
}

func containerFields() []definition {
	return []definition{
		textRow("container.id", agent, "The container's ID at its runtime.", containerOf, func(c *event.Container) *string { return &c.ID }),
		textRow("container.name", agent, "The container's name within its pod.", containerOf, func(c *event.Container) *string { return &c.Name }),
		imageRow("container.image.name", "", "The image, without tag and digest.", func(name, _, _ string) string { return name }),
		imageRow("container.image.tag", ":", "The image's tag.", func(_, tag, _ string) string { return tag }),
		many(imageRow("container.image.hash.all", "@", "The image's digest, where it is named by one.", func(_, _, digest string) string { return digest })),
		{
			Info: Info{Name: "container.security_context.privileged", Type: value.Boolean, Source: agent,
				Doc: "Whether the container is privileged."},
			get: func(r *Record) value.Value {
				if c := r.event.Container; c != nil && c.Privileged != nil {
					return value.Bool(*c.Privileged)
				}
				return value.Missing()
			},
			set: func(e *event.Event, given input) error {
				privileged, err := given.boolean()
				containerOf(e, true).Privileged = &privileged
				return err
			},
		},
	}
}

// imageRow is a part of the image's reference, with the sign that stands before
// it. The parts are set in their order.
func imageRow(name, sign, doc string, pick func(name, tag, digest string) string) definition {
	return definition{
		Info: Info{Name: name, Type: value.Keyword, Source: agent, Doc: doc},
		get: func(r *Record) value.Value {
			if r.event.Container == nil {
				return value.Missing()
			}
			return textValue(pick(splitImage(r.event.Container.Image)))
		},
		set: func(e *event.Event, given input) error {
			part, err := given.text()
			containerOf(e, true).Image += sign + part
			return err
		},
	}
}

// splitImage separates an image's name, tag and digest.
func splitImage(reference string) (name, tag, digest string) {
	name, digest, _ = strings.Cut(reference, "@")
	// A colon before the last slash is a registry's port.
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		name, tag = name[:colon], name[colon+1:]
	}
	return name, tag, digest
}
