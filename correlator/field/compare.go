package field

import (
	"encoding/json"
	"fmt"

	"github.com/portcullis-dev/portcullis/eql/value"
)

// compareAll reports every field that does not read as it was given: it
// contradicts another one, or is what no event can have.
func (b *builder) compareAll() {
	if len(b.problems) > 0 {
		return
	}
	b.record.Reset(b.event)
	for _, g := range b.sorted {
		if g.get == nil || g.isTree() || g.Type == value.Reference && len(g.list()) > 1 {
			continue
		}
		if read := g.get(b.record); !g.equals(read, g.Type) {
			b.problem(g.Name, contradiction(g, read))
		}
	}
}

func contradiction(g given, read value.Value) error {
	content := contentOf(read, g.Many && read.Len() != 1)
	if content == nil {
		return fmt.Errorf("no event has %s", shown(g.value))
	}
	return fmt.Errorf("it is %s by the event's other fields, not %s", shown(content), shown(g.value))
}

func shown(content any) string {
	text, err := json.Marshal(content)
	if err != nil {
		return fmt.Sprintf("%T", content)
	}
	return shorten(string(text))
}

func sameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
