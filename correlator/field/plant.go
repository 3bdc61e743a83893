package field

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/portcullis-dev/portcullis/event"
)

// garden grows the objects of a request from what a document gives of them: the
// whole, and what is at paths of it.
type garden map[string]*tree

type tree struct {
	object
	root any
}

// plant puts what is given where it belongs. The whole comes before its parts.
func (g garden) plant(field given) error {
	if err := field.leaf(field.Type); err != nil {
		return err
	}
	leaf, err := copyOfJSON(field.value)
	if err != nil {
		return err
	}
	at := field.within
	t := g[at.prefix]
	if t == nil {
		t = &tree{object: at.object}
		g[at.prefix] = t
	}
	if len(at.path) == 0 {
		t.root = leaf
		return nil
	}
	if t.root == nil {
		t.root = map[string]any{}
	}
	return put(t.root, at.path, leaf)
}

// put puts a leaf at a path below root, and makes the objects on the way.
func put(root any, path []string, leaf any) error {
	node, ok := root.(map[string]any)
	if !ok {
		return errors.New("the object itself is given too, and it is no object")
	}
	for i, name := range path[:len(path)-1] {
		if node[name] == nil {
			node[name] = map[string]any{}
		}
		if node, ok = node[name].(map[string]any); !ok {
			return fmt.Errorf("%s is given too, and it is no object", displayed(strings.Join(path[:i+1], ".")))
		}
	}
	last := path[len(path)-1]
	if _, taken := node[last]; taken {
		return errors.New("is given twice")
	}
	node[last] = leaf
	return nil
}

// harvest puts the objects into the event.
func (g garden) harvest(e *event.Event) error {
	for _, t := range g {
		raw, err := json.Marshal(t.root)
		if err != nil {
			return fmt.Errorf("%s: %w", strings.TrimSuffix(t.prefix, "."), err)
		}
		*t.raw(auditOf(e, true)) = raw
	}
	return nil
}

// copyOfJSON is a value that can be changed without changing the document.
func copyOfJSON(content any) (any, error) {
	raw, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("cannot be JSON: %w", err)
	}
	return decode(raw), nil
}

// decode is an object with its whole numbers exact, nil if it is not JSON.
func decode(raw json.RawMessage) any {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var tree any
	if decoder.Decode(&tree) != nil {
		return nil
	}
	return plain(tree)
}

// plain replaces numbers as they are written by Go's own.
func plain(node any) any {
	switch node := node.(type) {
	case json.Number:
		if i, err := node.Int64(); err == nil {
			return i
		}
		f, _ := node.Float64()
		return f
	case map[string]any:
		for name, child := range node {
			node[name] = plain(child)
		}
	case []any:
		for i, child := range node {
			node[i] = plain(child)
		}
	}
	return node
}
