// Command parsers compares JSON parsers on a list of audit events: those that are maintained and
// work on amd64 and arm64 without cgo. It is a module of its own, so that Portcullis depends on none of
// them. `make bench WHAT=parsers` runs it.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/bytedance/sonic"
	"github.com/bytedance/sonic/ast"
	"github.com/go-json-experiment/json/jsontext"
	gojson "github.com/goccy/go-json"
	"github.com/tidwall/gjson"
	"github.com/valyala/fastjson"
)

// How often each is measured, and how long: in turns, so that whatever else the machine does hits all.
const (
	rounds = 15
	length = 100 * time.Millisecond
)

// parser reads everything that there is, in the way that is its fastest: afterwards every value has been found.
type parser struct {
	name string
	read func(body []byte) error
	// costs are nanoseconds per byte, of each round.
	costs []float64
}

func parsers() []*parser {
	var fast fastjson.Parser
	return []*parser{
		{name: "valyala/fastjson, Parse", read: func(body []byte) error {
			_, err := fast.ParseBytes(body)
			return err
		}},
		{name: "bytedance/sonic, ast.Preorder", read: func(body []byte) error { return ast.Preorder(string(body), &visitor{}, nil) }},
		{name: "go-json-experiment, ReadToken", read: readTokens},
		{name: "tidwall/gjson, ForEach", read: walk},
		{name: "bytedance/sonic, into any", read: into(sonic.ConfigFastest.Unmarshal)},
		{name: "goccy/go-json, into any", read: into(gojson.Unmarshal)},
		{name: "encoding/json, into any", read: into(json.Unmarshal)},
	}
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: parsers FILE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "parsers:", err)
		os.Exit(1)
	}
}

func run(path string, out io.Writer) error {
	body, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	all := parsers()
	for range rounds {
		for _, p := range all {
			if err := p.measure(body); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	slices.SortFunc(all, func(a, b *parser) int { return int(1e6 * (a.median() - b.median())) })
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tns/KiB\tof the fastest\t")
	for _, p := range all {
		fmt.Fprintf(w, "%s\t%.0f\t%.2f\t\n", p.name, 1024*p.median(), p.median()/all[0].median())
	}
	return w.Flush()
}

func (p *parser) measure(body []byte) error {
	read, begin := 0, time.Now()
	for time.Since(begin) < length {
		if err := p.read(body); err != nil {
			return err
		}
		read += len(body)
	}
	p.costs = append(p.costs, float64(time.Since(begin).Nanoseconds())/float64(read))
	return nil
}

func (p *parser) median() float64 {
	sorted := slices.Sorted(slices.Values(p.costs))
	return sorted[len(sorted)/2]
}

func into(unmarshal func([]byte, any) error) func([]byte) error {
	return func(body []byte) error {
		var v any
		return unmarshal(body, &v)
	}
}

func readTokens(body []byte) error {
	decoder := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		if _, err := decoder.ReadToken(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func walk(body []byte) error {
	found := 0
	var visit func(r gjson.Result)
	visit = func(r gjson.Result) {
		found++
		if r.Type == gjson.JSON {
			r.ForEach(func(_, value gjson.Result) bool {
				visit(value)
				return true
			})
		}
	}
	if visit(gjson.ParseBytes(body)); found == 0 {
		return errors.New("no values")
	}
	return nil
}

// visitor counts values.
type visitor struct{ values int }

func (v *visitor) count() error {
	v.values++
	return nil
}

func (v *visitor) OnNull() error                        { return v.count() }
func (v *visitor) OnBool(bool) error                    { return v.count() }
func (v *visitor) OnString(string) error                { return v.count() }
func (v *visitor) OnInt64(int64, json.Number) error     { return v.count() }
func (v *visitor) OnFloat64(float64, json.Number) error { return v.count() }
func (v *visitor) OnObjectBegin(int) error              { return v.count() }
func (v *visitor) OnObjectKey(string) error             { return v.count() }
func (v *visitor) OnObjectEnd() error                   { return nil }
func (v *visitor) OnArrayBegin(int) error               { return v.count() }
func (v *visitor) OnArrayEnd() error                    { return nil }
