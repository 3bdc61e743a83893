package recording

import (
	"bufio"
	"errors"
	"io"
)

// errTooLong is what is wrong with a line beyond the bound.
var errTooLong = errors.New("the line is too long")

// lines splits a file.
type lines struct {
	reader *bufio.Reader
	limit  int
	// number is that of the last line, from 1; torn says that no newline ended it.
	number int
	torn   bool
	buffer []byte
}

func newLines(r io.Reader, limit int) *lines {
	return &lines{reader: bufio.NewReaderSize(r, 64<<10), limit: limit}
}

// next returns a line without its newline. It is valid until the next call. A
// line beyond the bound is skipped, with errTooLong.
func (l *lines) next() ([]byte, error) {
	l.buffer, l.torn = l.buffer[:0], false
	tooLong := false
	for begun := false; ; begun = true {
		part, err := l.reader.ReadSlice('\n')
		if !begun && (len(part) > 0 || err == nil) {
			l.number++
		}
		if len(l.buffer)+len(part) > l.limit {
			tooLong = true
			l.buffer = l.buffer[:0]
		}
		if !tooLong {
			l.buffer = append(l.buffer, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && (len(l.buffer) > 0 || tooLong):
			l.torn = true
		case err != nil:
			return nil, err
		}
		if tooLong {
			return nil, errTooLong
		}
		return l.buffer, nil
	}
}
