package auditsink

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
)

// hashBytes is how much of a SHA-256 an ID keeps. To make two events share one
// an attacker would have to search with live requests, since he cannot choose
// the microsecond timestamps that go in: 128 bits are far out of reach.
const hashBytes = 16

// eventID hashes an event as it was delivered. The bytes are taken as they are:
// an API server encodes the same event to the same bytes each time it sends it
// (map keys are sorted), so that redeliveries agree, and anything more lenient
// would be one more way to make two events look like one. The source is part of
// it since two API servers may well write the same text about two requests.
func eventID(source string, raw []byte) string {
	h := make(hasher, 0, len(source)+len(raw)+16)
	h.text(source)
	h = append(h, raw...)
	return h.sum()
}

// requestID hashes what all stages of one request have in common. The audit ID
// alone would let a client hide a request behind another one. The impersonated
// user is left out, because the API server learns it only after the
// RequestReceived stage; the request's own user, URI, agent, addresses and the
// microsecond of its arrival are there from the beginning.
func requestID(source string, w *wireEvent) string {
	h := make(hasher, 0, 1024)
	h.text(source)
	h.text(w.AuditID)
	h.text(w.Verb)
	h.text(w.RequestURI)
	h.text(w.UserAgent)
	h.number(w.RequestReceivedTimestamp.UnixNano())
	h.list(w.SourceIPs)
	h.text(w.User.Username)
	h.text(w.User.UID)
	h.list(w.User.Groups)
	for _, key := range slices.Sorted(maps.Keys(w.User.Extra)) {
		h.text(key)
		h.list(w.User.Extra[key])
	}
	return h.sum()
}

// hasher collects what is to be hashed. Everything is written with its length,
// so that no two sequences of values can run into the same bytes.
type hasher []byte

func (h *hasher) number(n int64) { *h = binary.AppendVarint(*h, n) }

func (h *hasher) text(s string) {
	h.number(int64(len(s)))
	*h = append(*h, s...)
}

func (h *hasher) list(values []string) {
	h.number(int64(len(values)))
	for _, s := range values {
		h.text(s)
	}
}

func (h *hasher) sum() string {
	sum := sha256.Sum256(*h)
	return hex.EncodeToString(sum[:hashBytes])
}
