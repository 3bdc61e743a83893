package main

import (
	"encoding/json"

	"github.com/valyala/fastjson"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// fastestParser is what only parsing costs, with the fastest of those that `make bench WHAT=parsers`
// compares.
func fastestParser() func(body []byte) error {
	var p fastjson.Parser
	return func(body []byte) error {
		_, err := p.ParseBytes(body)
		return err
	}
}

// apiTypes is what the API server's own Go types cost.
func apiTypes(body []byte) error {
	var list auditv1.EventList
	return json.Unmarshal(body, &list)
}
