package format

import (
	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/parse"
	"github.com/portcullis-dev/portcullis/eql/token"
)

// Query returns the text of a whole query laid out, without a line break at its
// end. What does not parse is not touched: then there is a list with at least one
// error instead.
func Query(file *token.File, limits parse.Limits) (string, diag.List) {
	if q, diags := parse.Query(file, limits); q == nil {
		return "", diags
	}
	p := &printer{}
	p.query((&builder{words: scan(file)}).query())
	return p.String(), nil
}

// Condition does for a condition that stands alone, such as a rule's exception,
// what Query does for a query.
func Condition(file *token.File, limits parse.Limits) (string, diag.List) {
	if e, diags := parse.Expr(file, limits); e == nil {
		return "", diags
	}
	p := &printer{}
	p.condition(scan(file))
	return p.String(), nil
}
