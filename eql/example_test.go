package eql_test

import (
	"fmt"

	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/eqltest"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// A schema says which fields there are, a record what one event holds in them.
func ExampleCompile() {
	schema := eqltest.NewSchema(
		value.Field{Name: "event.category"}, value.Field{Name: "process.name"}, value.Field{Name: "process.args", Many: true},
	)
	rule, diags := eql.Compile("netcat.eql",
		`process where process.name in ("nc", "ncat") and process.args like~ "-e*"`, schema, eql.Options{})
	if err := diags.Err(); err != nil {
		fmt.Println(err)
		return
	}
	event := schema.Event(map[string]value.Value{
		"event.category": value.String("process"),
		"process.name":   value.String("nc"),
		"process.args":   value.Strings([]string{"nc", "-E", "/bin/sh", "10.0.0.1"}),
	})
	fmt.Println(rule.Stages()[0].Match(event))
	// Output: true
}

// What is wrong with a query is shown where it stands.
func ExampleCompile_mistake() {
	schema := eqltest.NewSchema(value.Field{Name: "event.category"}, value.Field{Name: "process.name"})
	_, diags := eql.Compile("shell.eql", `process where process.nmae == "sh"`, schema, eql.Options{})
	fmt.Print(diags.Render())
	// Output:
	// shell.eql:1:15: error: unknown field process.nmae
	//   1 | process where process.nmae == "sh"
	//     |               ^^^^^^^^^^^^
	//   hint: did you mean process.name?
}
