package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"
)

// review is what the API server noted of an exec, in the annotations of its audit event.
type review struct {
	// session is empty if the webhook gave no answer.
	session string
	// late: the barrier's time was over. failed says what else went wrong: the webhook's own failure, or the API server's with it.
	late   bool
	failed string
	// received is when the exec came, answered when that was audited, by the API server's clock.
	received, answered time.Time
}

const (
	ourAnnotation  = "exec.portcullis.dev/"
	openAnnotation = "failed-open.validating.webhook.admission.k8s.io/"
	// maxLine is above every event of the audit log.
	maxLine = 8 << 20
)

// auditLine is what is read of an audit event.
type auditLine struct {
	RequestURI               string
	RequestReceivedTimestamp time.Time
	StageTimestamp           time.Time
	Annotations              map[string]string
}

// reviews reads the audit log: the reviews by the command that was to be run.
func reviews(path string) (map[string]review, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	all := map[string]review{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if !strings.Contains(lines.Text(), "/exec?") {
			continue
		}
		var line auditLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("the API server's audit log: %w: %.200q", err, lines.Text())
		}
		uri, err := url.ParseRequestURI(line.RequestURI)
		if err != nil {
			return nil, fmt.Errorf("the API server's audit log: %w", err)
		}
		all[uri.Query().Get("command")] = line.review()
	}
	return all, lines.Err()
}

func (l *auditLine) review() review {
	r := review{
		session: l.Annotations[ourAnnotation+"session"], late: l.Annotations[ourAnnotation+"barrier"] != "",
		failed: l.Annotations[ourAnnotation+"failure"], received: l.RequestReceivedTimestamp, answered: l.StageTimestamp,
	}
	for name, value := range l.Annotations {
		if strings.HasPrefix(name, openAnnotation) {
			r.failed = "the API server got no answer from " + value
		}
	}
	return r
}
