package eqltest_test

import (
	"math/rand/v2"
	"testing"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/eqltest"
	"github.com/portcullis-dev/portcullis/eql/token"
)

// TestSameTree: trees are the same if they are of the same seed, and else not.
func TestSameTree(t *testing.T) {
	tree := func(seed uint64) *ast.Query { return eqltest.RandomQuery(rand.New(rand.NewPCG(seed, 1))) }
	for seed := range uint64(300) {
		a, b := tree(seed), tree(seed)
		b.Place = ast.At(token.Span{Start: 1, End: 2})
		if !eqltest.SameTree(a, b) {
			t.Fatalf("seed %d: %s is not itself", seed, ast.Print(a))
		}
		c := tree(seed + 1000)
		if eqltest.SameTree(a, c) != (ast.Print(a) == ast.Print(c)) {
			t.Fatalf("%s\nand\n%s", ast.Print(a), ast.Print(c))
		}
	}
	if eqltest.SameTree(&ast.Literal{Kind: ast.Int}, &ast.Literal{Kind: ast.Float}) || eqltest.SameTree(&ast.Field{}, &ast.Literal{}) ||
		eqltest.SameTree(&ast.Call{Args: []ast.Expr{&ast.Field{}}}, &ast.Call{}) {
		t.Error("different trees are the same")
	}
}
