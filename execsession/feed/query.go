package feed

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/execsession"
)

// The bounds of what a request may say.
const (
	maxQuery = 8 << 10
	maxValue = 1 << 10
	maxLimit = 100_000
)

// query is what a request for sessions asks for.
type query struct {
	filter          execsession.Filter
	follow, details bool
}

// parse reads the parameters strictly: one that is misspelt would otherwise show what nobody asked for.
func parse(raw string) (query, error) {
	var q query
	if len(raw) > maxQuery {
		return q, fmt.Errorf("the parameters have %d bytes, at most %d can be", len(raw), maxQuery)
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, fmt.Errorf("the parameters cannot be read: %w", err)
	}
	for name, all := range values {
		if len(all) != 1 {
			return q, fmt.Errorf("the parameter %.64q stands %d times", name, len(all))
		}
		if len(all[0]) > maxValue {
			return q, fmt.Errorf("the parameter %.64q has %d bytes, at most %d can be", name, len(all[0]), maxValue)
		}
		if err := q.set(name, all[0]); err != nil {
			return q, fmt.Errorf("the parameter %.64q: %w", name, err)
		}
	}
	if q.follow && (q.details || q.filter.Limit > 0) {
		return q, fmt.Errorf("follow goes neither with limit nor with details")
	}
	return q, nil
}

func (q *query) set(name, value string) (err error) {
	f := &q.filter
	switch name {
	case "user":
		f.User = value
	case "namespace":
		f.Namespace = value
	case "pod":
		f.Pod = value
	case "since":
		f.Since, err = moment(value)
	case "until":
		f.Until, err = moment(value)
	case "limit":
		f.Limit, err = limit(value)
	case "attribution":
		f.Attribution, err = attribution(value)
	case "follow":
		q.follow, err = boolean(value)
	case "details":
		q.details, err = boolean(value)
	default:
		err = fmt.Errorf("there is no such parameter")
	}
	return err
}

func moment(text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return at, fmt.Errorf("%.64q is no time such as 2026-01-31T15:04:05Z", text)
	}
	return at, nil
}

func limit(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxLimit {
		return 0, fmt.Errorf("%.64q is no number from 1 to %d", text, maxLimit)
	}
	return n, nil
}

func attribution(text string) (event.Attribution, error) {
	switch a := event.Attribution(text); a {
	case event.AttributionExact, event.AttributionCandidates, event.AttributionNone:
		return a, nil
	}
	return "", fmt.Errorf("%.64q is none of exact, candidates and none", text)
}

func boolean(text string) (bool, error) {
	switch text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%.64q is neither true nor false", text)
}
