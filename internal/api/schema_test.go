package api_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// doc is the OpenAPI document as plain JSON.
type doc map[string]any

// at follows a path of names.
func (d doc) at(path ...string) any {
	var v any = map[string]any(d)
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

// deref follows a $ref.
func (d doc) deref(v any) map[string]any {
	m, _ := v.(map[string]any)
	ref, ok := m["$ref"].(string)
	if !ok {
		return m
	}
	out, ok := d.at(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...).(map[string]any)
	if !ok {
		panic("no such reference: " + ref)
	}
	return out
}

var knownWords = strings.Fields(`$ref type properties required additionalProperties items oneOf enum const pattern minimum maximum minLength maxLength
	minItems maxItems format description contentEncoding contentMediaType default`)

// check holds v against a schema: the part of JSON Schema that the document
// uses; any other word in a schema is a fault itself.
func (d doc) check(schema any, v any, at string) error {
	s := d.deref(schema)
	for word := range s {
		if !slices.Contains(knownWords, word) {
			return fmt.Errorf("%s: the checker does not know %q", at, word)
		}
	}
	if alts, ok := s["oneOf"].([]any); ok {
		return d.oneOf(alts, v, at)
	}
	if c, ok := s["const"]; ok && c != v {
		return fmt.Errorf("%s: %v is not %v", at, v, c)
	}
	if e, ok := s["enum"].([]any); ok && !slices.Contains(e, v) {
		return fmt.Errorf("%s: %v is none of %v", at, v, e)
	}
	return d.typed(s, v, at)
}

func (d doc) oneOf(alts []any, v any, at string) error {
	var faults []string
	for _, a := range alts {
		if err := d.check(a, v, at); err != nil {
			faults = append(faults, err.Error())
		}
	}
	if len(alts)-len(faults) != 1 {
		return fmt.Errorf("%s: %d alternatives fit, want 1: %s", at, len(alts)-len(faults), strings.Join(faults, " | "))
	}
	return nil
}

func (d doc) typed(s map[string]any, v any, at string) error {
	wrong := fmt.Errorf("%s: %v is no %v", at, v, s["type"])
	switch s["type"] {
	case "null":
		if v != nil {
			return wrong
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			return wrong
		}
	case "integer", "number":
		n, ok := v.(float64)
		if !ok || s["type"] == "integer" && n != float64(int64(n)) {
			return wrong
		}
		return bounds(s, n, "minimum", "maximum", at)
	case "string":
		text, ok := v.(string)
		if !ok {
			return wrong
		}
		return checkText(s, text, at)
	case "array":
		list, ok := v.([]any)
		if !ok {
			return wrong
		}
		for i, x := range list {
			if err := d.check(s["items"], x, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
		return bounds(s, float64(len(list)), "minItems", "maxItems", at)
	case "object":
		return d.object(s, v, at)
	default:
		return fmt.Errorf("%s: schema without a type", at)
	}
	return nil
}

func checkText(s map[string]any, text, at string) error {
	if p, ok := s["pattern"].(string); ok && !regexp.MustCompile(p).MatchString(text) {
		return fmt.Errorf("%s: %q does not match %s", at, text, p)
	}
	if s["format"] == "date-time" {
		if _, err := time.Parse(time.RFC3339Nano, text); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	return bounds(s, float64(len(text)), "minLength", "maxLength", at)
}

func (d doc) object(s map[string]any, v any, at string) error {
	m, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: %v is no object", at, v)
	}
	props, _ := s["properties"].(map[string]any)
	required, _ := s["required"].([]any)
	for _, r := range required {
		if _, ok := m[r.(string)]; !ok {
			return fmt.Errorf("%s: %v is missing", at, r)
		}
	}
	for name, x := range m {
		p, ok := props[name]
		if !ok && s["additionalProperties"] == false {
			return fmt.Errorf("%s: %s is not in the schema", at, name)
		}
		if ok {
			if err := d.check(p, x, at+"."+name); err != nil {
				return err
			}
		}
	}
	return nil
}

func bounds(s map[string]any, n float64, low, high, at string) error {
	if l, ok := s[low].(float64); ok && n < l {
		return fmt.Errorf("%s: %v is below %v", at, n, l)
	}
	if h, ok := s[high].(float64); ok && n > h {
		return fmt.Errorf("%s: %v is above %v", at, n, h)
	}
	return nil
}

// parse reads JSON into plain values.
func parse(text string) (any, error) {
	var v any
	err := json.Unmarshal([]byte(text), &v)
	return v, err
}
