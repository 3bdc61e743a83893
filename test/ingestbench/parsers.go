package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/bytedance/sonic"
	"github.com/bytedance/sonic/ast"
	"github.com/go-json-experiment/json/jsontext"
	gojson "github.com/goccy/go-json"
	"github.com/tidwall/gjson"
	"github.com/valyala/fastjson"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// parsers are those that are maintained and work on amd64 and arm64 without cgo.
// Each reads everything there is, in the way that is its fastest: afterwards every
// value has been found.
func parsers() []row {
	return []row{
		{name: "valyala/fastjson, Parse", parser: true, prepare: fastjsonParse},
		{name: "bytedance/sonic, ast.Preorder", parser: true, prepare: sonicVisit},
		{name: "go-json-experiment, ReadToken", parser: true, prepare: jsontextTokens},
		{name: "tidwall/gjson, ForEach", parser: true, prepare: gjsonWalk},
		{name: "bytedance/sonic, into any", parser: true, prepare: into(sonic.ConfigFastest.Unmarshal)},
		{name: "goccy/go-json, into any", parser: true, prepare: into(gojson.Unmarshal)},
	}
}

// apiTypes is what the API server's own Go types cost.
func apiTypes(body []byte) (func() error, error) {
	return func() error {
		var list auditv1.EventList
		return json.Unmarshal(body, &list)
	}, nil
}

func fastjsonParse(body []byte) (func() error, error) {
	var p fastjson.Parser
	return func() error {
		_, err := p.ParseBytes(body)
		return err
	}, nil
}

func into(unmarshal func([]byte, any) error) func([]byte) (func() error, error) {
	return func(body []byte) (func() error, error) {
		return func() error {
			var v any
			return unmarshal(body, &v)
		}, nil
	}
}

func jsontextTokens(body []byte) (func() error, error) {
	reader := bytes.NewBuffer(nil)
	decoder := jsontext.NewDecoder(reader)
	options := []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}
	return func() error {
		*reader = *bytes.NewBuffer(body) // which it then reads in place
		decoder.Reset(reader, options...)
		for {
			if _, err := decoder.ReadToken(); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
	}, nil
}

func gjsonWalk(body []byte) (func() error, error) {
	found := 0
	var walk func(r gjson.Result)
	walk = func(r gjson.Result) {
		found++
		if r.Type == gjson.JSON {
			r.ForEach(func(_, value gjson.Result) bool {
				walk(value)
				return true
			})
		}
	}
	return func() error {
		walk(gjson.ParseBytes(body))
		if found == 0 {
			return errors.New("no values")
		}
		return nil
	}, nil
}

func sonicVisit(body []byte) (func() error, error) {
	text := string(body)
	return func() error {
		v := &visitor{}
		if err := ast.Preorder(text, v, nil); err != nil {
			return fmt.Errorf("sonic: %w", err)
		}
		return nil
	}, nil
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
