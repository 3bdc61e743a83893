package event

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// digestBytes is how much of a SHA-256 an ID keeps. To make two events share one
// an attacker would have to search with live requests, since he cannot choose
// the microsecond timestamps that go in: 128 bits are far out of reach.
const digestBytes = 16

// digestRoom is how much of what an ID is a hash of finds room on the stack: most of it.
const digestRoom = 2048

// Digest collects what an ID is a hash of. Everything is written with its
// length, so that no two sequences of values can run into the same bytes.
type Digest []byte

// Number adds a number.
func (d *Digest) Number(n int64) { *d = binary.AppendVarint(*d, n) }

// Text adds a text.
func (d *Digest) Text(s string) { *d = digestText(*d, s) }

// List adds texts.
func (d *Digest) List(values []string) { *d = digestList(*d, values) }

// Rest adds bytes as they are. Nothing can be added after them.
func (d *Digest) Rest(b []byte) { *d = append(*d, b...) }

// ID is the hash, in hex.
func (d *Digest) ID() string { return idOf(*d) }

// The same for bytes that may be on the stack, where nothing is kept by way of a pointer.

func digestText(b []byte, s string) []byte {
	return append(binary.AppendVarint(b, int64(len(s))), s...)
}

func digestList(b []byte, values []string) []byte {
	b = binary.AppendVarint(b, int64(len(values)))
	for _, s := range values {
		b = digestText(b, s)
	}
	return b
}

func idOf(b []byte) string {
	sum := sha256.Sum256(b)
	var id [2 * digestBytes]byte
	hex.Encode(id[:], sum[:digestBytes])
	return string(id[:])
}
