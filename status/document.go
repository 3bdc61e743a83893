package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// ConfigMap is the name of the object in the server's namespace, Key its key.
const (
	ConfigMap = "portcullis-status"
	Key       = "status.json"
)

// Version is that of the Document. Readers understand documents of their version and of those before; fields
// may be added without a new one.
const Version = 1

const (
	// MaxItems bounds each list of a document, maxText each text.
	MaxItems = 100
	maxText  = 300
	// maxEncoded bounds what Encode makes, maxDocument what is read. A ConfigMap holds 1 MiB.
	maxEncoded  = 256 << 10
	maxDocument = 1 << 20
)

// Document is what the server knows of its own work.
type Document struct {
	Version int `json:"version"`
	// At is when this was so.
	At         time.Time   `json:"at"`
	Server     Server      `json:"server"`
	Store      Store       `json:"store"`
	APIServers []APIServer `json:"apiServers"`
	Nodes      Nodes       `json:"nodes"`
	Losses     []Loss      `json:"losses,omitempty"`
	Rejects    Rejects     `json:"rejects"`
	// Unsent are the sinks of notifications that have missed some lately.
	Unsent      []Unsent    `json:"unsent,omitempty"`
	Quarantines Quarantines `json:"quarantines"`
	Rules       Rules       `json:"rules"`
	// Left says how many entries were left out of a list, by its name, because there were too many.
	Left map[string]int `json:"left,omitempty"`
}

// Server is the process.
type Server struct {
	Version string    `json:"version"`
	Pod     string    `json:"pod,omitempty"`
	Started time.Time `json:"started"`
	Ready   bool      `json:"ready"`
	// NotReady says why it is not.
	NotReady string `json:"notReady,omitempty"`
	// Mode is what rules do that have no mode of their own: observe or enforce.
	Mode string `json:"mode"`
	// WatermarkLag is how far behind the clock the join is certain to have seen everything; negative if not known.
	WatermarkLag Seconds `json:"watermarkLagSeconds"`
	// WallAhead is by how much the node's clock was set forward, or back if it is negative, since the
	// server has started; it goes on by its own.
	WallAhead Seconds `json:"wallAheadSeconds,omitempty"`
}

// Store is what is kept on disk.
type Store struct {
	// Kind is "disk" or "memory".
	Kind string `json:"kind"`
	// Error says why it cannot be written at the moment.
	Error string `json:"error,omitempty"`
	// Waiting is how many messages of candidates it holds.
	Waiting int64 `json:"waiting"`
	Bytes   int64 `json:"bytes"`
}

// APIServer is one API server behind the Service "kubernetes".
type APIServer struct {
	Address string `json:"address"`
	// Source is the name under which its audit events arrive, empty while none does.
	Source string `json:"source,omitempty"`
	// State is one of package canary's, such as "live" or "silent", and Since when it began.
	State string    `json:"state"`
	Seen  bool      `json:"seen"`
	Since time.Time `json:"since"`
	// LastSeen is when its latest canary came back, Lag how long that took.
	LastSeen time.Time `json:"lastSeen,omitzero"`
	Lag      Seconds   `json:"lagSeconds"`
	// Offset is how far its clock is ahead, Tolerance how wrong that may be.
	Measured  bool    `json:"clockMeasured"`
	Offset    Seconds `json:"clockOffsetSeconds"`
	Tolerance Seconds `json:"clockToleranceSeconds"`
}

// Nodes are the nodes that have, or had, an agent.
type Nodes struct {
	Known     int `json:"known"`
	Connected int `json:"connected"`
	// Unhealthy are those of which something is to be said, the worst first.
	Unhealthy []Node `json:"unhealthy,omitempty"`
}

// Node is one of them.
type Node struct {
	Name string `json:"name"`
	// DisconnectedSince is since when its agent has had no stream, or has not caught up.
	DisconnectedSince time.Time `json:"disconnectedSince,omitzero"`
	// Losses are those of the last hour.
	Losses []Loss `json:"losses,omitempty"`
	// Offset is how far its clock is ahead, if that is more than a second.
	Offset Seconds `json:"clockOffsetSeconds,omitempty"`
	// Partial is how many things its agent cannot see or do fully.
	Partial int `json:"partial,omitempty"`
}

// Loss is something that was not seen.
type Loss struct {
	// Source is named as in package coverage; empty within a Node.
	Source string `json:"source,omitempty"`
	Cause  string `json:"cause"`
	// Lost is how many events are missing, 0 where nobody can count them.
	Lost uint64    `json:"lost,omitempty"`
	From time.Time `json:"from"`
	// To is zero while it lasts.
	To time.Time `json:"to,omitzero"`
}

// Rejects are the audit events that could not be read and were set aside.
type Rejects struct {
	Events int `json:"events"`
	// The newest one: when, from where, and why it could not be read.
	Newest    time.Time `json:"newest,omitzero"`
	APIServer string    `json:"apiServer,omitempty"`
	Reason    string    `json:"reason,omitempty"`
}

// Unsent counts, since the server's start, the documents that never got to one sink of notifications: those that
// there was no room for any more, and those that the sink did not want. Newest is when that was seen last.
type Unsent struct {
	Sink     string    `json:"sink"`
	Dropped  int64     `json:"dropped,omitempty"`
	Rejected int64     `json:"rejected,omitempty"`
	Newest   time.Time `json:"newest"`
}

// Quarantines counts those in force.
type Quarantines struct {
	InForce int `json:"inForce"`
}

// Rules counts the rules.
type Rules struct {
	Loaded int `json:"loaded"`
	// Suspended are those that were too slow.
	Suspended int `json:"suspended"`
	// Refused is set if rule files have changed and are not right, so that those before go on.
	Refused bool `json:"refused,omitempty"`
}

// Seconds is a time span as JSON numbers have it.
type Seconds float64

// SecondsOf converts, to milliseconds.
func SecondsOf(d time.Duration) Seconds { return Seconds(float64(d.Milliseconds()) / 1000) }

// Duration converts back.
func (s Seconds) Duration() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

// Encode returns the document as JSON, within its bounds: lists are cut further if texts are long.
func Encode(d Document) ([]byte, error) {
	d.Version = Version
	for items := MaxItems; ; items /= 2 {
		bounded := d
		bounded.bound(items)
		text, err := json.Marshal(bounded)
		if err != nil {
			return nil, fmt.Errorf("encode the status: %w", err)
		}
		if len(text) <= maxEncoded || items == 0 {
			return text, nil
		}
	}
}

// bound cuts texts, and lists to so many items. The lists that it cuts are copies of the caller's.
func (d *Document) bound(items int) {
	d.Left = nil
	d.Server.Version, d.Server.Pod, d.Server.NotReady = short(d.Server.Version), short(d.Server.Pod), short(d.Server.NotReady)
	d.Store.Error = short(d.Store.Error)
	d.Rejects.APIServer, d.Rejects.Reason = short(d.Rejects.APIServer), short(d.Rejects.Reason)
	var left [5]int
	d.APIServers, left[0] = cut(d.APIServers, items, func(a *APIServer) { a.Address, a.Source = short(a.Address), short(a.Source) })
	d.Nodes.Unhealthy, left[1] = cut(d.Nodes.Unhealthy, items, func(n *Node) {
		n.Name = short(n.Name)
		var lost int
		n.Losses, lost = cut(n.Losses, maxNodeLosses, boundLoss)
		left[3] += lost
	})
	d.Losses, left[2] = cut(d.Losses, items, boundLoss)
	d.Unsent, left[4] = cut(d.Unsent, items, func(u *Unsent) { u.Sink = short(u.Sink) })
	for i, name := range []string{"apiServers", "nodes.unhealthy", "losses", "nodes.losses", "unsent"} {
		if left[i] > 0 {
			if d.Left == nil {
				d.Left = map[string]int{}
			}
			d.Left[name] = left[i]
		}
	}
}

// maxNodeLosses bounds the losses of one node: there are fewer causes.
const maxNodeLosses = 10

func boundLoss(l *Loss) { l.Source, l.Cause = short(l.Source), short(l.Cause) }

// cut copies the first n items, each bounded, and says how many are left out.
func cut[T any](items []T, n int, bound func(*T)) (out []T, left int) {
	left = max(0, len(items)-n)
	if items == nil {
		return nil, 0
	}
	out = make([]T, 0, len(items)-left)
	for _, item := range items[:len(items)-left] {
		bound(&item)
		out = append(out, item)
	}
	return out, left
}

// short cuts a text.
func short(text string) string {
	if len(text) <= maxText {
		return text
	}
	end := maxText
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// Decode reads a document that a server has written.
func Decode(text []byte) (Document, error) {
	if len(text) > maxDocument {
		return Document{}, fmt.Errorf("the status has %d bytes, %d are the most: this is not what a server writes", len(text), maxDocument)
	}
	var d Document
	if err := json.Unmarshal(text, &d); err != nil {
		return Document{}, fmt.Errorf("decode the status: %w", err)
	}
	switch {
	case d.Version > Version:
		return Document{}, fmt.Errorf("the status is of version %d, and this program reads up to %d: it is older than the server", d.Version, Version)
	case d.Version < 1 || d.At.IsZero():
		return Document{}, errors.New("the status has no version or no time: this is not what a server writes")
	}
	return d, nil
}

// same reports whether two documents say the same to a person: what moves all the time does not count.
func same(a, b Document) bool {
	left, errLeft := json.Marshal(still(a))
	right, errRight := json.Marshal(still(b))
	return errLeft == nil && errRight == nil && string(left) == string(right)
}

// still is a document without what moves all the time.
func still(d Document) Document {
	d.bound(MaxItems)
	d.At, d.Server.WatermarkLag, d.Server.WallAhead = time.Time{}, 0, 0
	d.Store.Waiting, d.Store.Bytes = 0, 0
	for i := range d.APIServers {
		a := &d.APIServers[i]
		a.LastSeen, a.Lag, a.Offset, a.Tolerance = time.Time{}, 0, 0, 0
	}
	for i := range d.Nodes.Unhealthy {
		n := &d.Nodes.Unhealthy[i]
		n.Offset = 0
		for j := range n.Losses {
			n.Losses[j] = Loss{Cause: n.Losses[j].Cause}
		}
	}
	for i := range d.Unsent {
		d.Unsent[i] = Unsent{Sink: d.Unsent[i].Sink}
	}
	for i := range d.Losses {
		d.Losses[i] = Loss{Source: d.Losses[i].Source, Cause: d.Losses[i].Cause}
	}
	return d
}
