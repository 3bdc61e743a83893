package feed

import (
	"encoding/json"
	"net/http"
	"time"
)

// lines writes documents as NDJSON, each with a deadline of its own: the server's, for all of an answer, would end long ones.
type lines struct {
	w       http.ResponseWriter
	control *http.ResponseController
	encoder *json.Encoder
}

func newLines(w http.ResponseWriter) *lines {
	return &lines{w: w, control: http.NewResponseController(w), encoder: json.NewEncoder(w)}
}

// stay makes ready for an answer without end. Without it the server's time for reading a request, long over,
// would end the request's context.
func (l *lines) stay() error { return l.control.SetReadDeadline(time.Time{}) }

// write adds a line to what is sent when there is enough of it.
func (l *lines) write(document any) error {
	if err := l.deadline(); err != nil {
		return err
	}
	return l.encoder.Encode(document)
}

// send sends a line at once.
func (l *lines) send(document any) error {
	if err := l.write(document); err != nil {
		return err
	}
	return l.flush()
}

// beat sends an empty line at once.
func (l *lines) beat() error {
	if err := l.deadline(); err != nil {
		return err
	}
	if _, err := l.w.Write([]byte{'\n'}); err != nil {
		return err
	}
	return l.flush()
}

// flush sends what was written and takes the deadline away: HTTP/2 ends a stream at it even if nothing is being written.
func (l *lines) flush() error {
	if err := l.control.Flush(); err != nil {
		return err
	}
	return l.control.SetWriteDeadline(time.Time{})
}

func (l *lines) deadline() error {
	return l.control.SetWriteDeadline(time.Now().Add(writeTimeout))
}
