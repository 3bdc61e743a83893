package field

import (
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

// Record is one event as rules read it: it implements value.Record. It keeps
// what was computed for one event, and is for one goroutine. What it returns is
// valid until the next Reset.
type Record struct {
	schema *Schema
	event  *event.Event
	// getters are the schema's as of Reset.
	getters []getter
	// instead, if not empty, replaces the identity of the event's pod reference.
	instead string

	// often is what rules read of nearly every event.
	often often

	// What is computed at most once per event.
	commandLine, parentCommandLine cachedText
	sessionCommandLine             cachedText
	podKey, callerKey              cachedText
	request, response              document
	labels                         []string
	labelsKnown                    bool

	// text holds the texts above, one after the other; its memory is used again
	// for the next event.
	text []byte
	// ids are the texts of numbers that were read lately, of this event or another.
	ids [16]idText
}

// cachedText is a text that is computed at most once per event.
type cachedText struct {
	text  string
	known bool
}

// idText is a number and its text.
type idText struct {
	id   uint32
	text string
}

// NewRecord returns a Record without an event.
func (s *Schema) NewRecord() *Record { return &Record{schema: s} }

// Reset makes the record read another event. It knows the fields that exist by
// now: rules compiled later see them missing until the next Reset.
func (r *Record) Reset(e *event.Event) {
	r.event, r.getters, r.instead = e, *r.schema.getters.Load(), ""
	r.commandLine, r.parentCommandLine, r.sessionCommandLine = cachedText{}, cachedText{}, cachedText{}
	r.podKey, r.callerKey = cachedText{}, cachedText{}
	r.request, r.response = document{}, document{}
	clear(r.labels)
	r.labels, r.labelsKnown = r.labels[:0], false
	r.text = r.text[:0]
	r.often.read(e)
}

// Unread is how many of the event's objects a rule asked for in vain because
// they are larger than what is read.
func (r *Record) Unread() int {
	unread := 0
	for _, d := range []*document{&r.request, &r.response} {
		if d.unread {
			unread++
		}
	}
	return unread
}

// Event returns the event that the record reads.
func (r *Record) Event() *event.Event { return r.event }

// WithPodUID makes the event's pod references join by another UID, until
// Reset: an ambiguous pod joins once as each of its candidates.
func (r *Record) WithPodUID(uid string) { r.instead = event.Pod{UID: uid}.Key() }

// Field implements value.Record.
func (r *Record) Field(slot int) value.Value {
	if slot < 0 || slot >= len(r.getters) || r.event == nil {
		return value.Missing()
	}
	if often := r.schema.often; slot < len(often) && often[slot] >= 0 {
		return r.often[often[slot]]
	}
	return r.getters[slot](r)
}

// Fields implements value.Reader.
func (r *Record) Fields(slots []int, into []value.Value) {
	for i, slot := range slots {
		into[i] = r.Field(slot)
	}
}

// podRef is a reference to a pod, whose key is kept in cached.
func (r *Record) podRef(p *event.Pod, cached *cachedText) value.Value {
	if r.instead != "" && !p.IsZero() {
		return value.Ref(p.Name, r.instead)
	}
	if !cached.known {
		begin := len(r.text)
		r.text = p.AppendKey(r.text)
		cached.text, cached.known = r.textFrom(begin), true
	}
	return value.Ref(p.Name, cached.text)
}

// join is the arguments separated by spaces.
func (r *Record) join(cached *cachedText, args []string) value.Value {
	if !cached.known {
		begin := len(r.text)
		for i, arg := range args {
			if i > 0 {
				r.text = append(r.text, ' ')
			}
			r.text = append(r.text, arg...)
		}
		cached.text, cached.known = r.textFrom(begin), true
	}
	return textValue(cached.text)
}

// podLabels are the pod's labels, each as key:value, sorted.
func (r *Record) podLabels() value.Value {
	if !r.labelsKnown {
		r.labelsKnown = true
		for k, v := range r.event.Pod.Labels {
			begin := len(r.text)
			r.text = append(append(append(r.text, k...), ':'), v...)
			r.labels = append(r.labels, r.textFrom(begin))
		}
		slices.SortFunc(r.labels, strings.Compare)
	}
	return value.Strings(r.labels)
}

// textFrom is what was appended to r.text since it was that long. Nothing
// writes to those bytes before Reset, when all of the event's values end.
func (r *Record) textFrom(begin int) string {
	if begin == len(r.text) {
		return ""
	}
	return unsafe.String(&r.text[begin], len(r.text)-begin) //nolint:gosec // see above
}

// idValue is a numeric user or group as text. A container's processes have one
// or two different ones, so the texts are kept.
func (r *Record) idValue(id uint32) value.Value {
	cached := &r.ids[id%uint32(len(r.ids))]
	if cached.id != id || cached.text == "" {
		*cached = idText{id, strconv.FormatUint(uint64(id), 10)}
	}
	return value.String(cached.text)
}
