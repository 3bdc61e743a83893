package ruleload

import (
	"fmt"
	"strings"
	"testing/fstest"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/rule"
)

// Rules returns the first n rules.
func Rules(n int, schema *field.Schema) (*rule.Set, error) {
	files := fstest.MapFS{}
	for i := range n {
		files[fmt.Sprintf("%04d.yaml", i)] = &fstest.MapFile{Data: []byte(file(i))}
	}
	return rule.Load(files, rule.Options{Schema: schema})
}

func file(number int) string {
	return fmt.Sprintf(`apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata: {name: load-%04d}
spec:
  title: Rule %d of a load
  description: Made up, to measure with.
  severity: low
  riskScore: 21
  query: |
    %s
`, number, number, strings.ReplaceAll(Query(number), "\n", "\n    "))
}
