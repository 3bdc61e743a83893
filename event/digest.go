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

// Digest collects what an ID is a hash of. Everything is written with its
// length, so that no two sequences of values can run into the same bytes.
type Digest []byte

// Number adds a number.
func (d *Digest) Number(n int64) { *d = binary.AppendVarint(*d, n) }

// Text adds a text.
func (d *Digest) Text(s string) {
	d.Number(int64(len(s)))
	*d = append(*d, s...)
}

// List adds texts.
func (d *Digest) List(values []string) {
	d.Number(int64(len(values)))
	for _, s := range values {
		d.Text(s)
	}
}

// Rest adds bytes as they are. Nothing can be added after them.
func (d *Digest) Rest(b []byte) { *d = append(*d, b...) }

// ID is the hash, in hex.
func (d *Digest) ID() string {
	sum := sha256.Sum256(*d)
	return hex.EncodeToString(sum[:digestBytes])
}
