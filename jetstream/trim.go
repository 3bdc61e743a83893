package jetstream

import (
	"encoding/json"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/portcullis-dev/portcullis/bus"
	"github.com/portcullis-dev/portcullis/event"
)

// The most that the bus keeps of a request, in bytes. Rules have looked at all of it before;
// what is kept is for people to read. Telemetry is bounded where it is read.
const (
	// maxObject is for the request's object and the response's. A larger one is left out as a
	// whole: a part of it would be no JSON.
	maxObject = 16 << 10
	// maxText is for one text. Of a longer one the beginning is kept.
	maxText = 4 << 10
	// maxTexts is for the texts of a list or map together.
	maxTexts = 16 << 10
)

// trim returns candidates whose events have nothing that is too large to be kept. The publisher's
// are left as they are. Candidates of one event stand together, and share the trimmed one.
func (b *Bus) trim(candidates []bus.Candidate) []bus.Candidate {
	var last, kept *event.Event
	own := false
	for i, c := range candidates {
		if c.Event != last {
			last, kept = c.Event, trimmed(c.Event)
			if kept != last {
				b.store.metrics.trimmed.Inc()
			}
		}
		if kept == last {
			continue
		}
		if !own {
			candidates, own = slices.Clone(candidates), true
		}
		candidates[i].Event = kept
	}
	return candidates
}

// trimmed returns an event without what is too large, which is the same one if nothing is. Who did
// something is never cut: responses and budgets go by it.
func trimmed(e *event.Event) *event.Event {
	if e.Audit == nil {
		return e
	}
	var t trimmer
	a := *e.Audit
	a.RequestObject, a.ResponseObject = t.object(a.RequestObject), t.object(a.ResponseObject)
	for _, text := range []*string{
		&a.AuditID, &a.Verb, &a.RequestURI, &a.UserAgent, &a.Reason, &a.Message, &a.Target.Namespace, &a.Target.Name,
		&a.ObjectRef.APIGroup, &a.ObjectRef.APIVersion, &a.ObjectRef.Resource, &a.ObjectRef.Subresource,
		&a.ObjectRef.Namespace, &a.ObjectRef.Name, &a.ObjectRef.UID,
	} {
		*text = t.text(*text)
	}
	a.SourceIPs = t.texts(a.SourceIPs)
	a.Annotations = trimMap(&t, a.Annotations, sizeOfText)
	t.user(&a.User)
	if a.ImpersonatedUser != nil {
		user := *a.ImpersonatedUser
		t.user(&user)
		a.ImpersonatedUser = &user
	}
	if t.left == 0 {
		return e
	}
	kept, audit := *e, a // The usual event, which is not changed, costs no memory.
	kept.Audit = &audit
	kept.Trimmed += t.left
	return &kept
}

// trimmer cuts, and counts the bytes that it leaves out.
type trimmer struct{ left int }

func (t *trimmer) object(o json.RawMessage) json.RawMessage {
	if len(o) <= maxObject {
		return o
	}
	t.left += len(o)
	return nil
}

func (t *trimmer) text(s string) string {
	if len(s) <= maxText {
		return s
	}
	end := maxText
	for end > maxText-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	t.left += len(s) - end
	return s[:end]
}

// texts keeps the first ones.
func (t *trimmer) texts(list []string) []string {
	room := maxTexts
	for i, s := range list {
		if room -= sizeOf(s); room < 0 {
			t.left += sizeOf(list[i:]...)
			return list[:i:i]
		}
	}
	return list
}

func (t *trimmer) user(u *event.AuditUser) {
	u.Groups = t.texts(u.Groups)
	u.Extra = trimMap(t, u.Extra, sizeOfList)
}

// sizeOf is what texts take, about: an empty one takes something too.
func sizeOf(texts ...string) int {
	size := 8 * len(texts)
	for _, s := range texts {
		size += len(s)
	}
	return size
}

func sizeOfText(s string) int { return sizeOf(s) }

func sizeOfList(list []string) int { return sizeOf(list...) }

func sizeOfMap[V any](m map[string]V, sizeOfValue func(V) int) int {
	size := 0
	for key, v := range m {
		size += sizeOf(key) + sizeOfValue(v)
	}
	return size
}

// trimMap keeps of a map what fits, in the order of its keys. The map itself is others' too.
func trimMap[V any](t *trimmer, m map[string]V, sizeOfValue func(V) int) map[string]V {
	if sizeOfMap(m, sizeOfValue) <= maxTexts {
		return m
	}
	kept, room := map[string]V{}, maxTexts
	for _, key := range slices.Sorted(maps.Keys(m)) {
		size := sizeOf(key) + sizeOfValue(m[key])
		if size > room {
			t.left += size
			continue
		}
		kept[key] = m[key]
		room -= size
	}
	return kept
}
