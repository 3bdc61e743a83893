package field

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/portcullis-dev/portcullis/event"
)

// findKind tells the kind of event by the fields, and reports those that do not go together.
func (b *builder) findKind() {
	var ofAgent, ofAudit, ofFile string
	for _, name := range slices.Sorted(maps.Keys(b.given)) {
		switch g := b.given[name]; {
		case g.isEmpty():
		case g.Source == audit:
			ofAudit = cmp.Or(ofAudit, name)
		case g.Source == agent:
			ofAgent = cmp.Or(ofAgent, name)
			if strings.HasPrefix(name, "file.") {
				ofFile = name
			}
		}
	}
	if ofAgent != "" && ofAudit != "" {
		b.note(fmt.Errorf("%s and %s are not of one event: the one is known of requests, the other of containers",
			displayed(ofAudit), displayed(ofAgent)))
	}
	switch {
	case ofAudit != "":
		b.event.Kind = event.KindAudit
	case ofFile != "":
		b.event.Kind = event.KindFile
	case ofAgent != "":
		b.event.Kind = event.KindProcess
	default:
		b.event.Kind = b.kindByName()
	}
	if b.event.Kind == event.KindAudit {
		auditOf(b.event, true)
	}
}

// kindByName tells the kind by what the document calls the event.
func (b *builder) kindByName() event.Kind {
	dataset, _ := b.given["event.dataset"].text()
	copied, _ := b.given["data_stream.dataset"].text()
	categories, _ := b.given["event.category"].texts()
	switch dataset = cmp.Or(dataset, copied); {
	case dataset == event.DatasetAudit:
		return event.KindAudit
	case dataset == event.DatasetFile || slices.Contains(categories, "file"):
		return event.KindFile
	case dataset == event.DatasetProcess || slices.Contains(categories, "process"):
		return event.KindProcess
	}
	if user := b.given["user.id"]; !user.isEmpty() {
		if _, err := user.id(); err != nil {
			return event.KindAudit
		}
		return event.KindProcess
	}
	return event.KindUnknown
}
