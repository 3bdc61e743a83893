package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// batchSize is how many events an API server sends at a time by default.
const batchSize = 400

const (
	listHead = `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[`
	listTail = "]}\n"
	// eventHead is what an event has in an API server's log, and does not have in a list.
	eventHead = `"kind":"Event","apiVersion":"audit.k8s.io/v1",`
)

// recorded are the events of a recording, as they stand in a list.
func recorded(path string) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the recording: %w", err)
	}
	defer file.Close()
	text, err := gzip.NewReader(file)
	if err != nil {
		return nil, fmt.Errorf("the recording: %w", err)
	}
	var events []string
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		events = append(events, strings.Replace(lines.Text(), eventHead, "", 1))
	}
	if len(events) == 0 && lines.Err() == nil {
		return nil, fmt.Errorf("%s has no events", path)
	}
	return events, lines.Err()
}

// list is a batch of events, over and over again until it is full.
func list(events []string) []byte {
	var b bytes.Buffer
	b.WriteString(listHead)
	for i := range batchSize {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(events[i%len(events)])
	}
	b.WriteString(listTail)
	return b.Bytes()
}

// strangers is a batch each of whose events comes from a user that nobody has seen.
func strangers(events []string, number int) []byte {
	others := make([]string, batchSize)
	for i := range others {
		others[i] = strings.Replace(events[i%len(events)], `"username":"`, fmt.Sprintf(`"username":"stranger-%d-%d-`, number, i), 1)
	}
	return list(others)
}

// stamped makes batches of events that happen now and are not the same ones again.
type stamped struct {
	text []byte
	// ids, times are where in the text each audit ID and each timestamp begins.
	ids, times []int
	made       int
}

const (
	idLength   = len("dd0d3b85-93f9-4238-8c83-b336c70e26c4")
	timeLayout = "2006-01-02T15:04:05.000000Z"
)

func newStamped(events []string) *stamped {
	s := &stamped{text: list(events)}
	s.ids = places(s.text, `"auditID":"`)
	s.times = append(places(s.text, `"requestReceivedTimestamp":"`), places(s.text, `"stageTimestamp":"`)...)
	return s
}

// places are where what follows name begins.
func places(text []byte, name string) []int {
	var at []int
	for from := 0; ; {
		i := bytes.Index(text[from:], []byte(name))
		if i < 0 {
			return at
		}
		from += i + len(name)
		at = append(at, from)
	}
}

func (s *stamped) next(now time.Time) []byte {
	text := bytes.Clone(s.text)
	for _, at := range s.ids {
		s.made++
		copy(text[at:], fmt.Sprintf("00000000-0000-4000-8000-%012x", s.made)[:idLength])
	}
	for i, at := range s.times {
		copy(text[at:], now.Add(time.Duration(i%batchSize)*time.Microsecond).UTC().Format(timeLayout))
	}
	return text
}

// apart are the events that some rule wants, and the others.
func apart(events []string, wanted func(text []byte) (bool, error)) (yes, no []string, err error) {
	for _, text := range events {
		if !json.Valid([]byte(text)) {
			return nil, nil, fmt.Errorf("the recording has an event that is no JSON: %.80s", text)
		}
		is, err := wanted([]byte(text))
		switch {
		case err != nil:
			return nil, nil, err
		case is:
			yes = append(yes, text)
		default:
			no = append(no, text)
		}
	}
	return yes, no, nil
}
