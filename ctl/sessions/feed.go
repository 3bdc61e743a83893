package sessions

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/portcullis-dev/portcullis/execsession"
)

const (
	// path is where the server has its sessions.
	path = "/sessions"
	// maxLine bounds a session, maxComplaint what is shown of an error's text.
	maxLine, maxComplaint = 16 << 20, 1 << 10
	// silence is for how long a stream may say nothing: it has a heartbeat of a quarter of a minute.
	silence = 45 * time.Second
)

// session is a document, and what it was read from: a later version of the server says more in it.
type session struct {
	execsession.Document
	raw json.RawMessage
}

func read(text []byte) (session, error) {
	s := session{raw: bytes.Clone(text)}
	if err := json.Unmarshal(text, &s.Document); err != nil {
		return s, fmt.Errorf("read what the server says: %w", err)
	}
	return s, nil
}

// feed reads what the server tells.
type feed struct{ server *Server }

// list returns sessions, those that began last first.
func (f feed) list(ctx context.Context, query url.Values, details bool) ([]session, error) {
	if details {
		query.Set("details", "true")
	}
	body, err := f.get(ctx, path, query)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var all []session
	err = eachLine(body, func(line []byte) error {
		s, bad := read(line)
		all = append(all, s)
		return bad
	})
	return all, err
}

// one returns a session with everything.
func (f feed) one(ctx context.Context, id string) (session, error) {
	body, err := f.get(ctx, path+"/"+url.PathEscape(id), nil)
	if err != nil {
		return session{}, err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxLine))
	if err != nil {
		return session{}, fmt.Errorf("read session %s: %w", id, err)
	}
	return read(text)
}

// follow calls visit with each change, after connected once the server has begun to tell, until ctx ends or the stream does: it says why.
func (f feed) follow(ctx context.Context, query url.Values, connected func() error, visit func(session) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	query.Set("follow", "true")
	body, err := f.get(ctx, path, query)
	if err != nil {
		return err
	}
	defer body.Close()
	watchdog := time.AfterFunc(silence, func() { cancel(fmt.Errorf("the server has said nothing for %s", silence)) })
	defer watchdog.Stop()
	began := false
	err = eachLine(body, func(line []byte) error {
		watchdog.Reset(silence)
		if !began {
			began = true
			if failed := connected(); failed != nil {
				return failed
			}
		}
		if len(line) == 0 {
			return nil
		}
		s, bad := read(line)
		if bad != nil {
			return bad
		}
		return visit(s)
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err == nil {
		return errors.New("the server has ended the stream")
	}
	return err
}

// refusal is an answer of the server that is no session.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

// temporary reports whether to ask again can help.
func (r *refusal) temporary() bool { return r.status >= http.StatusInternalServerError }

func (f feed) get(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	address := f.server.URL + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	resp, err := f.server.HTTP.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxComplaint))
	return nil, &refusal{resp.StatusCode, complaint(resp, strings.TrimSpace(string(text)))}
}

// complaint says what a refusal means.
func complaint(resp *http.Response, says string) string {
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		return "the server does not accept the token of the service account portcullis-reader: can it reach the API server? portcullisctl doctor"
	case http.StatusForbidden:
		return "the server lets the service account portcullis-reader not read its sessions: " + says +
			"\nthe chart binds it to the cluster role portcullis-sessions-reader: helm upgrade portcullis … brings it back"
	case http.StatusNotFound:
		if strings.HasPrefix(says, "404") { // as one answers who knows no such path
			return "this server tells of no sessions: is it older than this portcullisctl?"
		}
		return says + "; portcullisctl sessions list shows those that there are"
	case http.StatusBadRequest:
		return "the server does not understand: " + says
	default:
		return fmt.Sprintf("the server answers %s: %s", resp.Status, says)
	}
}

func eachLine(r io.Reader, visit func([]byte) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for lines.Scan() {
		if err := visit(lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read what the server says: %w", err)
	}
	return nil
}
