package auditsink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/portcullis-dev/portcullis/event"
)

// ErrNotEventList is returned by Decode for JSON that is something else than an
// EventList of audit.k8s.io/v1.
var ErrNotEventList = errors.New("not an EventList of audit.k8s.io/v1")

// Limits of what one delivery may hold.
const (
	// MaxItems is how many events one list may hold. API servers send 400 at a
	// time by default and buffer 10,000: none can send more than it buffers.
	MaxItems = 10_000
	// MaxEntries is how many source addresses, groups, extras, values of one
	// extra or annotations of one event are kept; see Cut.
	MaxEntries = 256
	// MaxAhead is how far in the future an event may be. Clocks differ by
	// seconds; an event from next week would make everything else look late.
	MaxAhead = 24 * time.Hour
)

// maxErrorText bounds how much of the input an error may quote.
const maxErrorText = 160

// Delivery says where a list came from, and when.
type Delivery struct {
	// APIServer is the name that the sender proved.
	APIServer string
	// Received is when the sink had it. Zero, for files read later, switches the
	// check against the future off.
	Received time.Time
	// Wall is what the wall clock showed then, if that is another: an event may be from
	// the future of one of them.
	Wall time.Time
}

// before reports whether a time is too far in the future of the delivery.
func (d Delivery) before(t time.Time) bool {
	return !d.Received.IsZero() && t.Sub(d.Received) > MaxAhead && t.Sub(d.Wall) > MaxAhead
}

// Batch is a decoded list.
type Batch struct {
	// Events are those that could be read, in the list's order, without their IDs
	// (event.Event.Identify). They are the batch's: they end with Release, and share
	// memory with the decoded text. Whoever keeps one keeps what its Own returns.
	// Users and annotations are shared with other batches, and not to be changed.
	Events []*event.Event
	// Rejected are those that could not.
	Rejected []Rejected
	// Cut are the lists that were shortened.
	Cut []Cut

	rooms rooms
}

// Release ends the batch's events. It need not be called: then the garbage
// collector has more to do.
func (b *Batch) Release() {
	b.rooms.release()
	b.Events = nil
}

// Rejected is one item of a list that is not an event.
type Rejected struct {
	// Index is its place in the list, from 0.
	Index int
	// Reason says what is wrong with it. It quotes no more than a few characters.
	Reason error
	// Raw is the item as delivered: valid JSON, possibly with secrets in it.
	Raw json.RawMessage
}

// Cut says that an event's list or map had more than MaxEntries entries. The
// rest is not with the event: rules do not see it.
type Cut struct {
	// Index is the event's place in the delivered list, from 0.
	Index int
	// Field is the name of the list in audit.k8s.io/v1.
	Field string
	// Had is how many entries were delivered.
	Had int
}

// Decoder reads EventLists. It may be used concurrently.
type Decoder struct {
	names       names
	users       shared[user]
	annotations shared[map[string]string]
	rooms       sync.Pool // of *room
}

// NewDecoder returns a Decoder.
func NewDecoder() *Decoder {
	d := &Decoder{names: newNames(), rooms: sync.Pool{New: func() any { return new(room) }}}
	d.users = newShared(sharedUsers, d.names.readUser)
	d.annotations = newShared(sharedAnnotations, readAnnotations)
	return d
}

// Decode reads an EventList. It fails if body is not one, as a whole; single
// events that cannot be read are in Batch.Rejected, and never fail the rest. The
// body belongs to the batch from then on: nobody may write to it.
func (d *Decoder) Decode(body []byte, from Delivery) (Batch, error) {
	r := d.newReader(body, from)
	batch, ok := r.list()
	if !ok {
		r.rooms.release()
		return r.otherList(body)
	}
	batch.rooms = r.rooms
	return batch, nil
}

// DecodeEvent reads a single event, as a line of an audit log file holds one. It
// has its ID, and holds no reference to raw.
func (d *Decoder) DecodeEvent(raw []byte, from Delivery) (*event.Event, error) {
	r := d.newReader(raw, from)
	e := r.event()
	if e == nil || r.at != len(raw) {
		var err error
		if e, _, err = r.otherEvent(raw); err != nil {
			return nil, err
		}
	}
	e = e.Own()
	r.rooms.release()
	return e, nil
}

func (d *Decoder) newReader(text []byte, from Delivery) *reader {
	return &reader{
		Decoder: d, scanner: newScanner(unsafe.String(unsafe.SliceData(text), len(text))), //nolint:gosec // nobody may write to it
		from: from, source: "audit/" + from.APIServer, rooms: rooms{pool: &d.rooms},
	}
}

// list reads a list as API servers write it.
func (r *reader) list() (batch Batch, ok bool) {
	if !r.literal(`{"kind":"EventList","apiVersion":"audit.k8s.io/v1",`) {
		return Batch{}, false
	}
	if r.literal(`"metadata":`) && (!r.value(maxDepth) || !r.literal(",")) || !r.literal(`"items":[`) {
		return Batch{}, false
	}
	batch.Events = make([]*event.Event, 0, min(MaxItems, 1+(len(r.text)-r.at)/600))
	for i := 0; !r.literal("]"); i++ {
		if i > 0 && !r.literal(",") || i >= MaxItems || !r.item(i, &batch) {
			return Batch{}, false
		}
	}
	return batch, r.literal("}") && strings.Trim(r.text[r.at:], "\n") == ""
}

// item reads the item of a list that has that index.
func (r *reader) item(index int, batch *Batch) bool {
	begin := r.at
	if e := r.event(); e != nil {
		batch.Events = append(batch.Events, e)
		return true
	}
	r.at = begin
	if !r.value(maxDepth) {
		return false
	}
	r.other(r.bytes[begin:r.at:r.at], index, batch)
	return true
}

// otherList reads a list that is, or may be, written in another way.
func (r *reader) otherList(body []byte) (Batch, error) {
	var list wireList
	if err := unmarshal(body, &list); err != nil {
		return Batch{}, fmt.Errorf("%w: %s", ErrNotEventList, shorten(err.Error()))
	}
	if list.Kind != "EventList" || list.APIVersion != "audit.k8s.io/v1" {
		return Batch{}, fmt.Errorf("%w: kind %s, apiVersion %s", ErrNotEventList, quote(list.Kind), quote(list.APIVersion))
	}
	items, err := splitArray(list.Items, MaxItems)
	if err != nil {
		return Batch{}, fmt.Errorf("%w: items: %w", ErrNotEventList, err)
	}
	batch := Batch{Events: make([]*event.Event, 0, len(items))}
	for i, raw := range items {
		r.other(raw, i, &batch)
	}
	return batch, nil
}

// other adds an item that is written in another way.
func (r *reader) other(raw []byte, index int, batch *Batch) {
	e, cut, err := r.otherEvent(raw)
	if err != nil {
		batch.Rejected = append(batch.Rejected, Rejected{Index: index, Reason: err, Raw: raw})
		return
	}
	batch.Events = append(batch.Events, e)
	for _, c := range cut {
		c.Index = index
		batch.Cut = append(batch.Cut, c)
	}
}

func (r *reader) otherEvent(raw []byte) (*event.Event, []Cut, error) {
	var w wireEvent
	if err := unmarshal(raw, &w); err != nil {
		return nil, nil, errors.New(shorten(err.Error()))
	}
	if err := w.checkTimes(r.from); err != nil {
		return nil, nil, err
	}
	cut := w.cut()
	return convert(&w, raw, r.source, r.from), cut, nil
}

// checkTimes makes sure that both times are there. The API server sets both: an
// event without any did not come from one, and could not be put in order.
func (w *wireEvent) checkTimes(from Delivery) error {
	if w.RequestReceivedTimestamp.IsZero() {
		w.RequestReceivedTimestamp = w.StageTimestamp
	}
	if w.StageTimestamp.IsZero() {
		w.StageTimestamp = w.RequestReceivedTimestamp
	}
	if w.StageTimestamp.IsZero() {
		return errors.New("neither requestReceivedTimestamp nor stageTimestamp is set")
	}
	for _, t := range []wireTime{w.RequestReceivedTimestamp, w.StageTimestamp} {
		if from.before(t.Time) {
			return fmt.Errorf("timestamp %s is more than %s in the future", t.Format(time.RFC3339), MaxAhead)
		}
	}
	return nil
}

// splitArray finds the elements of a JSON array that is known to be valid JSON.
// The elements are parts of text, not copies.
func splitArray(text []byte, limit int) ([][]byte, error) {
	if len(text) == 0 || string(text) == "null" {
		return nil, nil
	}
	if text[0] != '[' {
		return nil, errors.New("want an array")
	}
	var items [][]byte
	depth, start := 0, -1
	for i := 1; i < len(text); i++ {
		switch c := text[i]; c {
		case '"':
			if start < 0 {
				start = i
			}
			i = endOfString(text, i)
		case '{', '[':
			if start < 0 {
				start = i
			}
			depth++
		case ',', ']', '}':
			if depth > 0 {
				if c != ',' {
					depth--
				}
				continue
			}
			if start >= 0 {
				items = append(items, bytes.TrimRight(text[start:i], " \t\r\n"))
			}
			if len(items) > limit {
				return nil, fmt.Errorf("more than %d events in one list", limit)
			}
			start = -1
		case ' ', '\t', '\r', '\n':
		default:
			if start < 0 {
				start = i
			}
		}
	}
	return items, nil
}

// endOfString is the index of the quote that closes the string opened at i.
func endOfString(text []byte, i int) int {
	for i++; i < len(text) && text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i
}

// shorten bounds text that goes into an error.
func shorten(text string) string {
	if len(text) <= maxErrorText {
		return text
	}
	cut := maxErrorText
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

// quote makes foreign text fit for a message.
func quote(text string) string { return strconv.Quote(shorten(text)) }
