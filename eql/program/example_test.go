package program_test

import (
	"fmt"

	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/eqltest"
	"github.com/portcullis-dev/portcullis/eql/program"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// The stages of all rules are held against an event together.
func ExampleSet() {
	schema := eqltest.NewSchema(value.Field{Name: "event.category"}, value.Field{Name: "process.name"})
	var stages []*program.Stage
	for _, query := range []string{
		`process where process.name in ("nc", "ncat")`,
		`process where process.name like "n*"`,
		`file where process.name == "nc"`,
	} {
		rule, diags := eql.Compile("", query, schema, eql.Options{})
		if err := diags.Err(); err != nil {
			fmt.Println(err)
			return
		}
		stages = append(stages, rule.Stages()...)
	}
	set := program.NewSet(stages, program.SetOptions{})
	memo := set.NewMemo()
	memo.Reset(schema.Event(map[string]value.Value{
		"event.category": value.String("process"), "process.name": value.String("nc"),
	}))
	for i := range set.Len() {
		fmt.Println(memo.Match(i), set.Stage(i))
	}
	// Output:
	// true process where process.name in ("nc", "ncat")
	// true process where process.name like "n*"
	// false file where process.name == "nc"
}
