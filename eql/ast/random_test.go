package ast_test

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/eql/ast"
	"github.com/portcullis-dev/portcullis/eql/eqltest"
	"github.com/portcullis-dev/portcullis/eql/parse"
	"github.com/portcullis-dev/portcullis/eql/token"
)

// TestPrintIsParsedBack: whatever tree there can be, its text parses to it.
func TestPrintIsParsedBack(t *testing.T) {
	for seed := range uint64(1500) {
		printsBack(t, seed, 1)
	}
}

// FuzzPrint does it for as many trees as one likes.
func FuzzPrint(f *testing.F) {
	for seed := range uint64(5) {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, a, b uint64) { printsBack(t, a, b) })
}

// printsBack prints and parses one random tree.
func printsBack(t *testing.T, a, b uint64) {
	t.Helper()
	want := eqltest.RandomQuery(rand.New(rand.NewPCG(a, b)))
	text := ast.Print(want)
	got, diags := parse.Query(token.NewFile("", text), parse.Limits{})
	if got == nil {
		t.Fatalf("seed %d, %d: %s\ndoes not parse:\n%s", a, b, text, diags.Render())
	}
	if !eqltest.SameTree(want, got) {
		t.Fatalf("seed %d, %d: %s\nparses to another tree:\n%s", a, b, text, cmp.Diff(want, got))
	}
	if again := ast.Print(got); again != text {
		t.Fatalf("seed %d, %d: %s\nprints the second time as\n%s", a, b, text, again)
	}
}
