package quarantine

import (
	"slices"
	"strings"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
)

// Operations is a set of operations. The zero set is that of an entry that names none, and
// stands for all of them, those of doors that are not known yet included.
type Operations uint8

// doorCount is how many operations there are.
const doorCount = 5

// doors are the operations in the order in which they are listed.
func doors() [doorCount]v1alpha1.Operation {
	return [...]v1alpha1.Operation{
		v1alpha1.OperationExec, v1alpha1.OperationAttach, v1alpha1.OperationPortForward,
		v1alpha1.OperationEphemeralContainers, v1alpha1.OperationProxy,
	}
}

// OperationsOf is the set of the given operations. None, or all there are, make the set of all. What is
// no operation counts as all: what an object's author cannot have meant denies rather than allows.
func OperationsOf(list ...v1alpha1.Operation) Operations {
	var set Operations
	for _, o := range list {
		bit := bitOf(string(o))
		if bit == 0 {
			return 0
		}
		set |= bit
	}
	if set == 1<<doorCount-1 {
		return 0
	}
	return set
}

// bitOf is the operation's bit, 0 for what is none.
func bitOf(door string) Operations {
	switch v1alpha1.Operation(door) {
	case v1alpha1.OperationExec:
		return 1 << 0
	case v1alpha1.OperationAttach:
		return 1 << 1
	case v1alpha1.OperationPortForward:
		return 1 << 2
	case v1alpha1.OperationEphemeralContainers:
		return 1 << 3
	case v1alpha1.OperationProxy:
		return 1 << 4
	default:
		return 0
	}
}

// Has reports whether the operation is in the set.
func (s Operations) Has(door string) bool { return s == 0 || s&bitOf(door) != 0 }

// List is the set as an object has it, nil for all.
func (s Operations) List() []v1alpha1.Operation {
	if s == 0 {
		return nil
	}
	all := doors()
	return slices.DeleteFunc(slices.Clone(all[:]), func(o v1alpha1.Operation) bool { return !s.Has(string(o)) })
}

// String is the set as people read it.
func (s Operations) String() string {
	if s == 0 {
		return "every operation"
	}
	names := make([]string, 0, doorCount)
	for _, o := range s.List() {
		names = append(names, string(o))
	}
	return strings.Join(names, ", ")
}

// union is what is in either set.
func (s Operations) union(other Operations) Operations {
	if s == 0 || other == 0 {
		return 0
	}
	return OperationsOf(append(s.List(), other.List()...)...)
}

// covers reports whether everything in the other set is in this one.
func (s Operations) covers(other Operations) bool { return s.union(other) == s }
