package webhook

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// maxScanned bounds what is scanned. The texts of a request keep all of it in memory.
	maxScanned = 16 << 10
	// maxDepth is how deep the scanner goes into what nobody reads.
	maxDepth = 32
)

// scanned reads the reviews that API servers usually send, in less than half of the time of encoding/json, which was a
// tenth of what a verdict takes of a processor. It knows nothing that encoding/json does not. Whatever is unusual,
// valid or not, it leaves to that, and says false.
func scanned(body []byte) (rev review, ok bool) {
	if len(body) > maxScanned {
		return review{}, false
	}
	s := scanner{text: string(body)}
	ok = s.review(&rev) && s.peek() == 0 && s.at == len(s.text)
	return rev, ok
}

// scanner reads JSON. Its methods return false for what they do not know, and then say nothing about where they stopped.
type scanner struct {
	text string
	at   int
}

func (s *scanner) review(out *review) bool {
	names := [...]string{"kind", "apiVersion", "request"}
	return s.object(names[:], func(place int) bool {
		switch place {
		case 0:
			return s.str(&out.Kind)
		case 1:
			return s.str(&out.APIVersion)
		default:
			out.Request = new(request)
			return s.request(out.Request)
		}
	})
}

func (s *scanner) request(out *request) bool {
	names := [...]string{"uid", "resource", "subResource", "name", "namespace", "operation", "userInfo", "object", "oldObject"}
	texts := [...]*string{0: &out.UID, 2: &out.SubResource, 3: &out.Name, 4: &out.Namespace, 5: &out.Operation}
	return s.object(names[:], func(place int) bool {
		switch place {
		case 1:
			return s.resource(&out.Resource)
		case 6:
			return s.user(&out.UserInfo)
		case 7:
			out.Object = new(object)
			return s.options(out.Object)
		case 8: // Only an update has one, which is another matter.
			return s.literal("null")
		default:
			return s.str(texts[place])
		}
	})
}

func (s *scanner) resource(out *groupResource) bool {
	names := [...]string{"group", "version", "resource"}
	texts := [...]*string{&out.Group, &out.Version, &out.Resource}
	return s.object(names[:], func(place int) bool { return s.str(texts[place]) })
}

func (s *scanner) user(out *userInfo) bool {
	names := [...]string{"username", "uid", "groups", "extra"}
	return s.object(names[:], func(place int) bool {
		switch place {
		case 0:
			return s.str(&out.Username)
		case 1:
			return s.str(&out.UID)
		case 2:
			return s.strs(&out.Groups)
		default:
			return s.extra(&out.Extra)
		}
	})
}

// options reads those of a CONNECT. A pod has what is left to encoding/json, and so has a list of ports.
func (s *scanner) options(out *object) bool {
	names := [...]string{"kind", "container", "command", "stdin", "stdout", "stderr", "tty", "path", "ports", "metadata", "spec"}
	flags := [...]*bool{3: &out.Stdin, 4: &out.Stdout, 5: &out.Stderr, 6: &out.TTY}
	return s.object(names[:], func(place int) bool {
		switch place {
		case 0:
			return s.str(&out.Kind)
		case 1:
			return s.str(&out.Container)
		case 2:
			return s.strs(&out.Command)
		case 3, 4, 5, 6:
			*flags[place] = s.peek() == 't'
			return s.literal("true") || s.literal("false")
		case 7:
			return s.str(&out.Path)
		default:
			return false
		}
	})
}

// object reads one, and has read read each member that is named, by its place in names. It moves over the others.
func (s *scanner) object(names []string, read func(place int) bool) bool {
	seen := 0
	return s.members(func(key string) bool {
		place := slices.Index(names, key)
		if place < 0 {
			// To encoding/json, names are the same in upper and lower case.
			return !slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, key) }) && s.value(maxDepth)
		}
		again := seen&(1<<place) != 0
		seen |= 1 << place
		return !again && read(place)
	})
}

// extra reads what else is known of a user.
func (s *scanner) extra(out *map[string][]string) bool {
	*out = map[string][]string{}
	return s.members(func(key string) bool {
		var values []string
		ok := s.strs(&values)
		(*out)[key] = values
		return ok
	})
}

// members reads an object of plain keys, and has read read the value of each.
func (s *scanner) members(read func(key string) bool) bool {
	if !s.token('{') {
		return false
	}
	if s.token('}') {
		return true
	}
	for {
		key, plain := s.plain()
		if !plain || !s.token(':') || !read(key) {
			return false
		}
		if s.token('}') {
			return true
		}
		if !s.token(',') {
			return false
		}
	}
}

// elements reads an array, and has read read each.
func (s *scanner) elements(read func() bool) bool {
	if !s.token('[') {
		return false
	}
	if s.token(']') {
		return true
	}
	for read() {
		if s.token(']') {
			return true
		}
		if !s.token(',') {
			return false
		}
	}
	return false
}

func (s *scanner) strs(out *[]string) bool {
	all := []string{}
	ok := s.elements(func() bool {
		var text string
		read := s.str(&text)
		all = append(all, text)
		return read
	})
	*out = all
	return ok
}

// str reads a string.
func (s *scanner) str(out *string) bool {
	text, plain := s.plain()
	if plain {
		*out = text
		return true
	}
	begin := s.at
	return s.peek() == '"' && s.quoted() && json.Unmarshal([]byte(s.text[begin:s.at]), out) == nil
}

// plain reads a string that stands for itself, or nothing.
func (s *scanner) plain() (text string, ok bool) {
	if s.peek() != '"' {
		return "", false
	}
	for i := s.at + 1; i < len(s.text); i++ {
		switch c := s.text[i]; {
		case c == '"':
			text, s.at = s.text[s.at+1:i], i+1
			return text, true
		case c < ' ' || c == '\\' || c >= utf8.RuneSelf:
			return "", false
		}
	}
	return "", false
}

// quoted moves behind a string that may have escapes. It leaves it to others whether JSON allows it.
func (s *scanner) quoted() bool {
	for i := s.at + 1; i < len(s.text); i++ {
		switch s.text[i] {
		case '"':
			s.at = i + 1
			return true
		case '\\':
			i++
		}
	}
	return false
}

// value moves over any value but a number, which no review has beside ports and what is in a pod.
func (s *scanner) value(depth int) bool {
	switch s.peek() {
	case '"':
		var ignored string
		return s.str(&ignored)
	case '{':
		return depth > 0 && s.members(func(string) bool { return s.value(depth - 1) })
	case '[':
		return depth > 0 && s.elements(func() bool { return s.value(depth - 1) })
	default:
		return s.literal("null") || s.literal("true") || s.literal("false")
	}
}

// token reads that character, if it is what follows.
func (s *scanner) token(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

// literal reads that word, if it is what follows. What must not follow a word is found by whoever reads on.
func (s *scanner) literal(word string) bool {
	if s.peek(); !strings.HasPrefix(s.text[s.at:], word) {
		return false
	}
	s.at += len(word)
	return true
}

// peek moves over white space, and returns the character behind it, 0 at the end.
func (s *scanner) peek() byte {
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}
