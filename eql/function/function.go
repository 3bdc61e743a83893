// Package function is the list of functions that rules can call: their names,
// parameters and results. The checker holds calls against it and the compiler
// translates by its IDs; what a function computes is the compiler's business.
package function

import "sort"

// ID names a function.
type ID uint8

// The functions.
const (
	Add ID = iota + 1
	Subtract
	Multiply
	Divide
	Modulo
	Between
	CIDRMatch
	Concat
	EndsWith
	IndexOf
	Length
	Match
	Number
	StartsWith
	String
	StringContains
	Substring
	Wildcard
)

// Type is what a parameter takes or a function returns.
type Type uint8

// The types.
const (
	Any Type = iota
	Text
	Numeric
	Boolean
)

// String returns the type as messages name it.
func (t Type) String() string {
	return [...]string{"a value", "text", "a number", "true or false"}[t]
}

// Param is one parameter.
type Param struct {
	Name string
	Type Type
	// Constant says that no field may be used in it.
	Constant bool
	// Optional parameters may be left out, together with all behind them.
	Optional bool
}

// Function is one function.
type Function struct {
	ID     ID
	Name   string
	Params []Param
	// Variadic says that the last parameter may be given many times.
	Variadic bool
	Result   Type
	// Fold says that the function has a form that ignores case: name~.
	Fold bool
}

// Arity returns the least and most arguments, most being -1 for no limit.
func (f Function) Arity() (least, most int) {
	for _, p := range f.Params {
		if !p.Optional {
			least++
		}
	}
	if f.Variadic {
		return least, -1
	}
	return least, len(f.Params)
}

// Param returns the parameter that the i-th argument is for.
func (f Function) Param(i int) Param { return f.Params[min(i, len(f.Params)-1)] }

// Lookup finds a function by its name, without ~.
func Lookup(name string) (Function, bool) {
	for _, f := range all() {
		if f.Name == name {
			return f, true
		}
	}
	return Function{}, false
}

// Names returns all names, sorted.
func Names() []string {
	functions := all()
	names := make([]string, 0, len(functions))
	for _, f := range functions {
		names = append(names, f.Name)
	}
	sort.Strings(names)
	return names
}

// Elsewhere returns what to write instead of a function that other engines
// have, or "".
func Elsewhere(name string) string {
	switch name {
	case "arrayContains", "arraySearch":
		return "a comparison holds if any of a field's values fits: field == value"
	case "arrayCount":
		return "the number of a field's values is not available"
	case "regex":
		return `regex is an operator: field regex "…"`
	case "like":
		return `like is an operator: field like "…"`
	default:
		return ""
	}
}

func all() []Function {
	source := Param{Name: "source", Type: Text}
	part := Param{Name: "part", Type: Text}
	numbers := []Param{{Name: "left", Type: Numeric}, {Name: "right", Type: Numeric}}
	return []Function{
		{ID: Add, Name: "add", Params: numbers, Result: Numeric},
		{ID: Subtract, Name: "subtract", Params: numbers, Result: Numeric},
		{ID: Multiply, Name: "multiply", Params: numbers, Result: Numeric},
		{ID: Divide, Name: "divide", Params: numbers, Result: Numeric},
		{ID: Modulo, Name: "modulo", Params: numbers, Result: Numeric},
		{
			ID: Between, Name: "between", Result: Text, Fold: true,
			Params: []Param{
				source, {Name: "left", Type: Text}, {Name: "right", Type: Text},
				{Name: "greedy", Type: Boolean, Constant: true, Optional: true},
			},
		},
		{
			ID: CIDRMatch, Name: "cidrMatch", Result: Boolean, Variadic: true,
			Params: []Param{{Name: "address", Type: Text}, {Name: "block", Type: Text, Constant: true}},
		},
		{ID: Concat, Name: "concat", Params: []Param{{Name: "value", Type: Any}}, Variadic: true, Result: Text},
		{ID: EndsWith, Name: "endsWith", Params: []Param{source, part}, Result: Boolean, Fold: true},
		{
			ID: IndexOf, Name: "indexOf", Result: Numeric, Fold: true,
			Params: []Param{source, part, {Name: "start", Type: Numeric, Optional: true}},
		},
		{ID: Length, Name: "length", Params: []Param{source}, Result: Numeric},
		{
			ID: Match, Name: "match", Result: Boolean, Fold: true, Variadic: true,
			Params: []Param{source, {Name: "expression", Type: Text, Constant: true}},
		},
		{
			ID: Number, Name: "number", Result: Numeric,
			Params: []Param{source, {Name: "base", Type: Numeric, Constant: true, Optional: true}},
		},
		{ID: StartsWith, Name: "startsWith", Params: []Param{source, part}, Result: Boolean, Fold: true},
		{ID: String, Name: "string", Params: []Param{{Name: "value", Type: Any}}, Result: Text},
		{ID: StringContains, Name: "stringContains", Params: []Param{source, part}, Result: Boolean, Fold: true},
		{
			ID: Substring, Name: "substring", Result: Text,
			Params: []Param{
				source, {Name: "start", Type: Numeric},
				{Name: "end", Type: Numeric, Optional: true},
			},
		},
		{
			ID: Wildcard, Name: "wildcard", Result: Boolean, Fold: true, Variadic: true,
			Params: []Param{source, {Name: "pattern", Type: Text, Constant: true}},
		},
	}
}
