package field

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/portcullis-dev/portcullis/eql/value"
	"github.com/portcullis-dev/portcullis/event"
)

// Bounds of what is read in a request's or response's object. The API server
// itself takes no object beyond 3 MiB; rules look at pod specifications, which
// are some KiB.
const (
	maxObject = 1 << 20
	maxValues = 512
)

// document is an object that is parsed when a rule first asks for it.
type document struct {
	parsed bool
	root   any
	// unread: the object is larger than what is read.
	unread bool
}

func (d *document) parse(raw json.RawMessage) {
	if d.parsed {
		return
	}
	d.parsed = true
	if d.unread = len(raw) > maxObject; d.unread || len(raw) == 0 {
		return
	}
	var root any
	if err := json.Unmarshal(raw, &root); err == nil {
		d.root = root
	}
}

// object is one of the two objects of a request.
type object struct {
	// prefix is that of its fields.
	prefix string
	raw    func(*event.Audit) *json.RawMessage
	parsed func(*Record) *document
}

func requestObject() object {
	return object{
		prefix: requestPrefix,
		raw:    func(a *event.Audit) *json.RawMessage { return &a.RequestObject },
		parsed: func(r *Record) *document { return &r.request },
	}
}

func responseObject() object {
	return object{
		prefix: responsePrefix,
		raw:    func(a *event.Audit) *json.RawMessage { return &a.ResponseObject },
		parsed: func(r *Record) *document { return &r.response },
	}
}

// root is the parsed object, nil if there is none.
func (o object) root(r *Record) any {
	if r.event.Audit == nil {
		return nil
	}
	d := o.parsed(r)
	d.parse(*o.raw(r.event.Audit))
	return d.root
}

// place is where in a request's object a field is; without a path, it is the whole.
type place struct {
	object
	path []string
}

// objectField is a path into an object. Its type cannot be known from the
// path, except by the names that the Kubernetes API gives its booleans and
// numbers.
func objectField(info Info, path string, o object) definition {
	segments := strings.Split(path, ".")
	info.Type = typeOf(segments[len(segments)-1])
	return definition{
		Info: info,
		get: func(r *Record) value.Value {
			root := o.root(r)
			if root == nil {
				return value.Missing()
			}
			found := collector{}
			found.walk(root, segments)
			return found.value(info.Type)
		},
		within: &place{o, segments},
	}
}

// wholeObjects are the two objects as they are.
func wholeObjects() []definition {
	whole := func(doc string, o object) definition {
		return definition{
			Info: Info{Name: strings.TrimSuffix(o.prefix, "."), Type: value.Keyword, Source: audit, Doc: doc},
			write: func(e *event.Event) any {
				if e.Audit == nil {
					return nil
				}
				return decode(*o.raw(e.Audit))
			},
			within: &place{object: o},
		}
	}
	return []definition{
		whole("The request's object as a whole.", requestObject()),
		whole("The response's object as a whole.", responseObject()),
	}
}

// typeOf guesses the type of a field of the Kubernetes API by its name.
func typeOf(name string) value.Type {
	switch name {
	case "privileged", "allowPrivilegeEscalation", "readOnlyRootFilesystem", "runAsNonRoot", "hostPID", "hostIPC",
		"hostNetwork", "hostUsers", "shareProcessNamespace", "automountServiceAccountToken", "readOnly", "stdin",
		"tty", "optional", "immutable", "suspend", "allowed", "denied", "unschedulable", "paused":
		return value.Boolean
	case "runAsUser", "runAsGroup", "fsGroup", "containerPort", "hostPort", "nodePort", "port", "replicas",
		"expirationSeconds", "defaultMode", "generation", "observedGeneration":
		return value.Number
	default:
		return value.Keyword
	}
}

// collector gathers what a path leads to.
type collector struct {
	leaves []any
}

// walk follows the segments. Arrays are walked through. A key of an object may
// itself contain dots (labels, annotations), so every way to join the segments
// is tried; each place of the object is visited at most once, as only one way
// leads to it.
func (c *collector) walk(node any, segments []string) {
	if len(c.leaves) >= maxValues {
		return
	}
	switch node := node.(type) {
	case []any:
		for _, element := range node {
			c.walk(element, segments)
		}
	case map[string]any:
		for i := 1; i <= len(segments); i++ {
			key := segments[0]
			if i > 1 {
				key = strings.Join(segments[:i], ".")
			}
			if child, ok := node[key]; ok {
				c.walk(child, segments[i:])
			}
		}
	case nil:
	default:
		if len(segments) == 0 {
			c.leaves = append(c.leaves, node)
		}
	}
}

// value makes one value of all leaves of a type. Several texts are several
// values. A field holds only one boolean or number: true wins over false (one
// privileged container is enough), and of numbers the smallest (user 0).
func (c *collector) value(t value.Type) value.Value {
	switch t {
	case value.Boolean:
		return c.boolean()
	case value.Number:
		return c.number()
	default:
		return c.texts()
	}
}

func (c *collector) boolean() value.Value {
	result := value.Missing()
	for _, leaf := range c.leaves {
		if b, ok := leaf.(bool); ok && (b || result.IsMissing()) {
			result = value.Bool(b)
		}
	}
	return result
}

func (c *collector) number() value.Value {
	result := value.Missing()
	for _, leaf := range c.leaves {
		if n, ok := leaf.(float64); ok && (result.IsMissing() || n < result.Float()) {
			result = numberOf(n)
		}
	}
	return result
}

// numberOf is an integer where it can be one: == compares those exactly.
func numberOf(n float64) value.Value {
	if i := int64(n); float64(i) == n {
		return value.Int(i)
	}
	return value.Float(n)
}

func (c *collector) texts() value.Value {
	var texts []string
	for _, leaf := range c.leaves {
		switch leaf := leaf.(type) {
		case string:
			texts = append(texts, leaf)
		case bool:
			texts = append(texts, strconv.FormatBool(leaf))
		case float64:
			texts = append(texts, strconv.FormatFloat(leaf, 'f', -1, 64))
		}
	}
	if len(texts) == 1 {
		return value.String(texts[0])
	}
	return value.Strings(texts)
}
