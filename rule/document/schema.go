package document

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// durationPattern is Duration's; how long it may be, no pattern can say.
const durationPattern = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`

// timePattern is Time's.
const timePattern = `^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2}))?$`

// Schema is the shape as a JSON schema (draft 7, which every editor knows), with
// a title. It accepts what Documents accepts, and refuses what that refuses for
// its structure; a query's mistakes and the like are beyond it.
func (s *Shape) Schema(title string) ([]byte, error) {
	schema := s.schema()
	schema["$schema"] = "http://json-schema.org/draft-07/schema#"
	schema["title"] = title
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(schema); err != nil {
		return nil, fmt.Errorf("write JSON schema: %w", err)
	}
	return text.Bytes(), nil
}

type schema = map[string]any

func (s *Shape) schema() schema {
	switch s.kind {
	case object:
		return s.objectSchema()
	case mapping:
		return schema{"type": "object", "additionalProperties": s.items.schema(), "maxProperties": s.most}
	case list:
		return schema{"type": "array", "items": s.items.schema(), "maxItems": s.most}
	case text:
		return s.textSchema()
	case integer:
		return schema{"type": "integer", "minimum": s.low, "maximum": s.high}
	case boolean:
		return schema{"type": "boolean"}
	case moment:
		return schema{"type": "string", "pattern": timePattern}
	case span:
		return schema{"type": "string", "pattern": durationPattern}
	default:
		return schema{}
	}
}

func (s *Shape) objectSchema() schema {
	properties, required := schema{}, []string{}
	for _, f := range s.fields {
		property := f.shape.schema()
		property["description"] = f.doc
		properties[f.name] = property
		if f.required {
			required = append(required, f.name)
		}
	}
	out := schema{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	if s.least > 0 {
		out["minProperties"] = s.least
	}
	return out
}

func (s *Shape) textSchema() schema {
	if s.words != nil {
		return schema{"type": "string", "enum": s.words}
	}
	pattern := `\S`
	if s.pattern != nil {
		pattern = s.pattern.String()
	}
	return schema{"type": "string", "maxLength": s.most, "pattern": pattern}
}
