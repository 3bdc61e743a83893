package event

import "time"

// Clock says what is known of the clock that an event's times were read from.
type Clock struct {
	// Offset is how far that clock was ahead of Portcullis', as far as is known. It has been taken
	// off the event's times: what the source wrote is Event.Time.Add(Offset).
	Offset time.Duration
	// Tolerance is how far the Offset may be wrong, either way. It says nothing where
	// Measured is false.
	Tolerance time.Duration
	// Measured is set once the clock has been compared with Portcullis'.
	Measured bool
}
