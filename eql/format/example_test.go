package format_test

import (
	"fmt"

	"github.com/portcullis-dev/portcullis/eql/format"
	"github.com/portcullis-dev/portcullis/eql/parse"
	"github.com/portcullis-dev/portcullis/eql/token"
)

func ExampleQuery() {
	text, diags := format.Query(token.NewFile("shell.eql", `process where process.name in("sh","bash")
	and ( process.interactive==true // at a terminal
	or process.args=="-i" )`), parse.Limits{})
	if err := diags.Err(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(text)
	// Output:
	// process where process.name in ("sh", "bash") and
	//   (
	//     process.interactive == true or // at a terminal
	//     process.args == "-i"
	//   )
}
