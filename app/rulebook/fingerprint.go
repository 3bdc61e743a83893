package rulebook

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"github.com/portcullis-dev/portcullis/rule/source"
)

// fingerprint tells contents of folders apart. What cannot be read is a part of
// it, too, so that it differs once it can.
type fingerprint [sha256.Size]byte

// fingerprintOf looks at every rule file. The error is that of scan.
func fingerprintOf(places []place, maxBytes int) (fingerprint, error) {
	h := newHasher()
	if err := scan(places, maxBytes, h.visit); err != nil {
		return fingerprint{}, err
	}
	return h.sum(), nil
}

// hasher makes a fingerprint of what scan visits.
type hasher struct{ hash hash.Hash }

func newHasher() hasher { return hasher{sha256.New()} }

func (h hasher) visit(p place, f source.File) {
	h.text(string(p.kind))
	h.text(p.dir)
	h.text(f.Name)
	h.text(f.Text)
	if f.Err != nil {
		h.text(f.Err.Error())
	}
}

// text writes a text with its length, so that no two sequences of texts look alike.
func (h hasher) text(text string) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(text)))
	h.hash.Write(length[:])
	h.hash.Write([]byte(text))
}

func (h hasher) sum() fingerprint { return fingerprint(h.hash.Sum(nil)) }
