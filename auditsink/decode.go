package auditsink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

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
}

// Batch is a decoded list.
type Batch struct {
	// Events are those that could be read, in the list's order. They hold no
	// reference to the decoded text and belong to the caller.
	Events []*event.Event
	// Rejected are those that could not.
	Rejected []Rejected
	// Cut are the lists that were shortened.
	Cut []Cut
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

// Decode reads an EventList. It fails if body is not one, as a whole; single
// events that cannot be read are in Batch.Rejected, and never fail the rest.
func Decode(body []byte, from Delivery) (Batch, error) {
	var list wireList
	if err := json.Unmarshal(body, &list); err != nil {
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
		e, cut, err := decodeEvent(raw, from)
		if err != nil {
			batch.Rejected = append(batch.Rejected, Rejected{Index: i, Reason: err, Raw: raw})
			continue
		}
		batch.Events = append(batch.Events, e)
		for _, c := range cut {
			c.Index = i
			batch.Cut = append(batch.Cut, c)
		}
	}
	return batch, nil
}

// DecodeEvent reads a single event, as a line of an audit log file holds one.
func DecodeEvent(raw []byte, from Delivery) (*event.Event, error) {
	e, _, err := decodeEvent(raw, from)
	return e, err
}

func decodeEvent(raw []byte, from Delivery) (*event.Event, []Cut, error) {
	var w wireEvent
	if err := json.Unmarshal(raw, &w); err != nil {
		return nil, nil, errors.New(shorten(err.Error()))
	}
	if err := w.checkTimes(from.Received); err != nil {
		return nil, nil, err
	}
	cut := w.cut()
	return convert(&w, raw, from), cut, nil
}

// checkTimes makes sure that both times are there. The API server sets both: an
// event without any did not come from one, and could not be put in order.
func (w *wireEvent) checkTimes(received time.Time) error {
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
		if !received.IsZero() && t.Sub(received) > MaxAhead {
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
