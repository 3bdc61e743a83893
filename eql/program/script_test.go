package program_test

import (
	"path/filepath"
	"testing"

	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/eqltest"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// TestScripts holds programs against the tables of testdata.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.script")
	if err != nil || len(files) == 0 {
		t.Fatalf("find scripts: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { eqltest.RunFile(t, file, compile) })
	}
}

func compile(query string, schema value.Schema) (func(value.Record) bool, error) {
	p, diags := eql.Compile("", query, schema, eql.Options{})
	if p == nil {
		return nil, diags.Err()
	}
	return p.Stages()[0].Match, nil
}
