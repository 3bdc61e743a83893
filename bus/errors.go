package bus

// What a publisher can decide by. Both have a method Busy that reports true: whoever
// sent the events should offer them again shortly.
var (
	// ErrFull says that the size bound is reached. Nothing was stored of what met it.
	ErrFull error = busyError("the store is full")
	// ErrUnavailable says that the bus cannot store anything at present. It tries to
	// recover by itself.
	ErrUnavailable error = busyError("the store is not available")
)

type busyError string

func (e busyError) Error() string { return string(e) }

// Busy marks the error as one that passes.
func (busyError) Busy() bool { return true }
