package notify

import (
	"errors"
	"fmt"
	"strings"

	"github.com/fxamacker/cbor/v2"
	"github.com/klauspost/compress/s2"

	"github.com/portcullis-dev/portcullis/event"
)

// letter is a document on its way to one sink.
type letter struct {
	// key is under which it is stored: the sink's name, a slash, and a number that grows.
	key string
	// id and change say what is told: the detection, and its state.
	id, change string
	// packed is the document, compressed.
	packed []byte
}

// envelope is a letter as it is stored. The numbers are for ever; fields that are
// added need no new encoding.
type envelope struct {
	ID     string `cbor:"1,keyasint"`
	Change string `cbor:"2,keyasint"`
	Packed []byte `cbor:"3,keyasint"`
}

// encoding is the version of what a value holds: its first byte.
const encoding = 1

// maxBody bounds what a letter may decompress to. Documents are a quarter of it at most.
const maxBody = 1 << 20

// changeOf is what is told of a detection: two changes of one detection differ in it.
func changeOf(d *event.Detection) string { return string(d.State) + " " + d.SupersededBy }

func (l *letter) marshal() ([]byte, error) {
	value, err := cbor.Marshal(envelope{l.id, l.change, l.packed})
	if err != nil {
		return nil, fmt.Errorf("encode notification %s: %w", l.id, err)
	}
	return append([]byte{encoding}, value...), nil
}

// unmarshalLetter is the inverse of marshal.
func unmarshalLetter(key string, value []byte) (*letter, error) {
	if len(value) == 0 || value[0] != encoding {
		return nil, errors.New("the notification is empty, or of a newer version")
	}
	var e envelope
	if err := cbor.Unmarshal(value[1:], &e); err != nil {
		return nil, fmt.Errorf("decode notification: %w", err)
	}
	return &letter{key: key, id: e.ID, change: e.Change, packed: e.Packed}, nil
}

// document is what the letter says.
func (l *letter) document() (Document, error) {
	size, err := s2.DecodedLen(l.packed)
	switch {
	case err != nil:
		return Document{}, fmt.Errorf("decompress notification %s: %w", l.id, err)
	case size > maxBody:
		return Document{}, fmt.Errorf("decompress notification %s: %d bytes, at most %d are allowed", l.id, size, maxBody)
	}
	body, err := s2.Decode(nil, l.packed)
	if err != nil {
		return Document{}, fmt.Errorf("decompress notification %s: %w", l.id, err)
	}
	return Document{ID: l.id, Body: body}, nil
}

// sinkOf is the sink that a stored letter is for, and its number.
func sinkOf(key string) (sink, number string) {
	at := strings.LastIndexByte(key, '/')
	if at < 0 {
		return "", ""
	}
	return key[:at], key[at+1:]
}
