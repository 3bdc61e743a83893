package value

// Record is one event as a program reads it.
type Record interface {
	// Field returns what the event holds in a slot that the Schema gave out.
	// It must answer Missing for a slot that it does not know.
	Field(slot int) Value
}

// Reader is a Record that reads several fields at once: a program asks for some
// of nearly every event, and a call for each would cost more than the reading.
type Reader interface {
	Record
	// Fields sets into[i] to what Field returns for slots[i].
	Fields(slots []int, into []Value)
}

// Type is what a field's values are.
type Type uint8

// The types of fields.
const (
	// Keyword is text.
	Keyword Type = iota
	// Number is whole numbers and fractions.
	Number
	// Boolean is true and false.
	Boolean
	// IP is text that holds an IP address: == and in understand every spelling
	// of an address, and CIDR blocks.
	IP
	// Reference is text that joins by an identity: its values are made by Ref.
	Reference
)

// String returns the type as messages name it.
func (t Type) String() string {
	switch t {
	case Keyword:
		return "text"
	case Number:
		return "a number"
	case Boolean:
		return "true or false"
	case IP:
		return "an IP address"
	case Reference:
		return "a reference"
	default:
		return "of an unknown type"
	}
}

// Field is what a Schema knows of a field.
type Field struct {
	Name string
	// Slot is how records are asked for it; not negative.
	Slot int
	Type Type
	// Many says that the field may hold several values.
	Many bool
}

// Schema knows the fields that rules may name.
type Schema interface {
	// Lookup finds a field by its name. It may create slots on demand, for
	// names that only rules know, such as those of annotations.
	Lookup(name string) (Field, bool)
	// Names returns the names worth suggesting for one that was not found.
	Names() []string
}
