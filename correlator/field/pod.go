package field

import (
	"slices"
	"strings"

	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

func podOf(e *event.Event, _ bool) *event.Pod { return &e.Pod }

func isTelemetry(e *event.Event) bool { return e.Kind == event.KindProcess || e.Kind == event.KindFile }

func hostFields() []definition {
	linux := func(r *Record) value.Value {
		if !isTelemetry(r.event) {
			return value.Missing()
		}
		return value.String("linux")
	}
	node := textRow("host.name", agent, "The node's name.", podOf, func(p *event.Pod) *string { return &p.Node })
	node.get = func(r *Record) value.Value {
		if !isTelemetry(r.event) {
			return value.Missing()
		}
		return textValue(r.event.Pod.Node)
	}
	return []definition{
		derivedRow("host.os.type", value.Keyword, agent, "Always linux.", linux, nil),
		derivedRow("host.os.family", value.Keyword, agent, "Always linux.", linux, nil),
		node,
		copyOf(node, "host.hostname", "Equals host.name."),
	}
}

func podFields() []definition {
	always := func(s string) getter {
		return func(r *Record) value.Value {
			if r.event.Pod.IsZero() {
				return value.Missing()
			}
			return value.String(s)
		}
	}
	name := textRow("orchestrator.resource.name", agent, "The pod in which it happened: reads as its name, joins by its identity.",
		podOf, func(p *event.Pod) *string { return &p.Name })
	name.Type = value.Reference
	name.get = func(r *Record) value.Value { return r.podRef(&r.event.Pod, &r.podKey) }
	return []definition{
		name,
		textRow("orchestrator.resource.id", agent, "The pod's UID.", podOf, func(p *event.Pod) *string { return &p.UID }),
		derivedRow("orchestrator.resource.type", value.Keyword, agent, "Always pod.", always("pod"), nil),
		many(definition{
			Info: Info{Name: "orchestrator.resource.label", Type: value.Keyword, Source: agent, Doc: "The pod's labels, each as key:value."},
			get:  (*Record).podLabels,
			set:  func(e *event.Event, given input) error { return setLabels(&e.Pod, given) },
		}),
		textRow("orchestrator.namespace", agent, "The pod's namespace.", podOf, func(p *event.Pod) *string { return &p.Namespace }),
		derivedRow("orchestrator.type", value.Keyword, agent, "Always kubernetes.", always("kubernetes"), nil),
	}
}

// setLabels takes key:value texts, or an object.
func setLabels(p *event.Pod, given input) error {
	if object, ok := given.value.(map[string]any); ok {
		p.Labels = make(map[string]string, len(object))
		for k, v := range object {
			text, err := input{v}.text()
			if err != nil {
				return err
			}
			p.Labels[k] = text
		}
		return nil
	}
	texts, err := given.texts()
	if err != nil {
		return err
	}
	if len(texts) > 0 {
		p.Labels = make(map[string]string, len(texts))
	}
	for _, label := range texts {
		key, content, ok := strings.Cut(label, ":")
		if !ok || key == "" {
			return wrong("labels as key:value", label)
		}
		p.Labels[key] = content
	}
	return nil
}

// identityFields say more of pods than rules can read: what the identity
// resolver found. Those of a request's two pods are in a document where that is
// not what the request itself says.
func identityFields() []definition {
	fields := certaintyFields("portcullis.pod.", agent, "the pod", podOf, func(e *event.Event) bool {
		return e.Pod.Confidence != ownConfidence(&e.Pod)
	})
	fields = append(fields, requestPodFields("portcullis.caller.", "the pod that made the request", callerOf, func(e *event.Event) bool {
		return e.Audit != nil && !samePod(e.Audit.Caller, event.CallerOf(&e.Audit.User))
	})...)
	return append(fields, requestPodFields("portcullis.target.", "the pod that the request names", targetOf, func(e *event.Event) bool {
		return e.Audit != nil && !samePod(e.Audit.Target, event.TargetOf(e.Audit))
	})...)
}

func callerOf(e *event.Event, create bool) *event.Pod {
	if a := auditOf(e, create); a != nil {
		return &a.Caller
	}
	return nil
}

func targetOf(e *event.Event, create bool) *event.Pod {
	if a := auditOf(e, create); a != nil {
		return &a.Target
	}
	return nil
}

// ownConfidence is how sure a pod is of which nothing is said.
func ownConfidence(p *event.Pod) event.Confidence {
	if p.UID != "" {
		return event.Exact
	}
	return event.Unknown
}

func samePod(a, b event.Pod) bool {
	return a.UID == b.UID && a.Namespace == b.Namespace && a.Name == b.Name && a.Node == b.Node &&
		a.Confidence == b.Confidence && len(a.Labels) == 0 && slices.Equal(a.Candidates, b.Candidates)
}

// certaintyFields are a pod's confidence and candidates. The confidence is
// written where telling says so.
func certaintyFields(prefix, source, what string, in part[event.Pod], telling func(*event.Event) bool) []definition {
	candidates := textsRow(prefix+"candidates", source, "The UIDs that "+what+" may have, where that is ambiguous.",
		in, func(p *event.Pod) *[]string { return &p.Candidates })
	candidates.get = nil
	candidates.write = func(e *event.Event) any {
		if p := in(e, false); p != nil && len(p.Candidates) > 0 {
			return slices.Clone(p.Candidates)
		}
		return nil
	}
	return []definition{
		{
			Info: Info{Name: prefix + "confidence", Type: value.Keyword, Source: source,
				Doc: "How the UID of " + what + " was found: exact, by-name, ambiguous or unknown."},
			set: func(e *event.Event, given input) (err error) {
				in(e, true).Confidence, err = given.confidence()
				return err
			},
			write: func(e *event.Event) any {
				if !telling(e) {
					return nil
				}
				return in(e, false).Confidence.String()
			},
		},
		candidates,
	}
}

// requestPodFields are all of a pod, written where telling says so.
func requestPodFields(prefix, what string, in part[event.Pod], telling func(*event.Event) bool) []definition {
	text := func(name, doc string, at func(*event.Pod) *string) definition {
		d := textRow(prefix+name, audit, doc, in, at)
		d.get = nil
		d.write = func(e *event.Event) any {
			if !telling(e) || *at(in(e, false)) == "" {
				return nil
			}
			return *at(in(e, false))
		}
		return d
	}
	return append([]definition{
		text("id", "The UID of "+what+".", func(p *event.Pod) *string { return &p.UID }),
		text("namespace", "The namespace of "+what+".", func(p *event.Pod) *string { return &p.Namespace }),
		text("name", "The name of "+what+".", func(p *event.Pod) *string { return &p.Name }),
		text("node", "The node of "+what+".", func(p *event.Pod) *string { return &p.Node }),
		many(definition{
			Info: Info{Name: prefix + "label", Type: value.Keyword, Source: audit, Doc: "The labels of " + what + ", each as key:value."},
			set:  func(e *event.Event, given input) error { return setLabels(in(e, true), given) },
			write: func(e *event.Event) any {
				if !telling(e) || len(in(e, false).Labels) == 0 {
					return nil
				}
				return labelsOf(in(e, false))
			},
		}),
	}, certaintyFields(prefix, audit, what, in, telling)...)
}

func labelsOf(p *event.Pod) []string {
	labels := make([]string, 0, len(p.Labels))
	for k, v := range p.Labels {
		labels = append(labels, k+":"+v)
	}
	slices.Sort(labels)
	return labels
}
