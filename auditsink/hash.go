package auditsink

import "github.com/portcullis-dev/portcullis/event"

// eventID hashes an event as it was delivered. The bytes are taken as they are:
// an API server encodes the same event to the same bytes each time it sends it
// (map keys are sorted), so that redeliveries agree, and anything more lenient
// would be one more way to make two events look like one. The source is part of
// it since two API servers may well write the same text about two requests.
func eventID(source string, raw []byte) string {
	d := make(event.Digest, 0, len(source)+len(raw)+16)
	d.Text(source)
	d.Rest(raw)
	return d.ID()
}
