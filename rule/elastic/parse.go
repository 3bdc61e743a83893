package elastic

import (
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/portcullis-dev/portcullis/eql/diag"
	"github.com/portcullis-dev/portcullis/eql/token"
	"github.com/portcullis-dev/portcullis/rule"
)

// document is a rule file. Fields that mean nothing here are not in it.
type document struct {
	Metadata struct {
		Maturity string `toml:"maturity"`
	} `toml:"metadata"`
	Rule *table `toml:"rule"`
}

// table is the table [rule].
type table struct {
	ID          string   `toml:"rule_id"`
	Name        string   `toml:"name"`
	Description string   `toml:"description"`
	Severity    string   `toml:"severity"`
	RiskScore   *int     `toml:"risk_score"`
	Type        string   `toml:"type"`
	Language    string   `toml:"language"`
	Query       string   `toml:"query"`
	Tags        []string `toml:"tags"`
	References  []string `toml:"references"`
	Threat      []threat `toml:"threat"`

	// What would change the result, and is not applied.
	EventCategoryOverride string `toml:"event_category_override"`
	AlertSuppression      any    `toml:"alert_suppression"`
	Filters               []any  `toml:"filters"`
	ExceptionsList        []any  `toml:"exceptions_list"`
}

type threat struct {
	Framework  string      `toml:"framework"`
	Tactic     entry       `toml:"tactic"`
	Techniques []technique `toml:"technique"`
}

type technique struct {
	entry
	Subtechniques []entry `toml:"subtechnique"`
}

type entry struct {
	ID   string `toml:"id"`
	Name string `toml:"name"`
}

// production is the maturity of rules that are meant to run. One without any is too.
const production = "production"

// parse reads a file. It answers false for TOML that holds no rule: a checkout
// of the public rules has other TOML files beside them.
func parse(file *token.File, o rule.Options) (File, bool) {
	var d document
	if err := toml.Unmarshal([]byte(file.Text()), &d); err != nil {
		span, message := placeOf(file, err)
		return unreadable(file, span, message), true
	}
	if d.Rule == nil {
		return File{}, false
	}
	f := File{Path: file.Name(), Name: nameOf(file.Name()), ID: d.Rule.ID, Title: d.Rule.Name, Type: d.Rule.Type}
	if f.Type == "" {
		f.Type = d.Rule.Language
	}
	switch {
	case f.Type != EQL:
		return f.leaveOut(NotSupported, "%s", languageOf(d.Rule)), true
	case d.Metadata.Maturity != production && d.Metadata.Maturity != "":
		return f.leaveOut(LeftOut, "its maturity is %s, only %s rules run", d.Metadata.Maturity, production), true
	}
	c := &converter{file: file, places: placesOf(file.Text()), table: d.Rule, options: o}
	f.Rule, f.Problems = c.convert()
	f.Result = Loaded
	if f.Rule == nil {
		f.Result = Broken
		f.Why = firstError(f.Problems)
	}
	return f, true
}

// languageOf says why a rule does not run.
func languageOf(t *table) string {
	switch t.Type {
	case "query", "threshold", "new_terms", "threat_match":
		language := map[string]string{"": "KQL", "kuery": "KQL", "lucene": "Lucene's query language", "eql": "EQL"}[t.Language]
		if language == "" {
			language = t.Language
		}
		return fmt.Sprintf("rules of type %s (%s) are not supported yet", t.Type, language)
	case "esql":
		return "rules of type esql (ES|QL) are not supported yet"
	case "":
		return "it has no type; rules of type eql run"
	default:
		return fmt.Sprintf("rules of type %s are not supported yet", t.Type)
	}
}

// unreadable is a file of which nothing is known.
func unreadable(file *token.File, span token.Span, message string) File {
	return File{
		Path: file.Name(), Name: nameOf(file.Name()), Result: Broken, Why: message,
		Problems: diag.List{{File: file, Span: span, Message: message}},
	}
}

func firstError(found diag.List) string {
	for _, d := range found.Errors() {
		position := d.Position()
		return fmt.Sprintf("%d:%d: %s", position.Line, position.Column, d.Message)
	}
	return ""
}

// placeOf returns where in a file the decoder found a mistake, and what it is.
func placeOf(file *token.File, err error) (token.Span, string) {
	var mistake *toml.DecodeError
	message := strings.TrimPrefix(err.Error(), "toml: ")
	if !errors.As(err, &mistake) {
		return token.Span{}, "not TOML: " + message
	}
	line, column := mistake.Position()
	at := offset(file.Text(), line, column)
	if key := strings.Join(mistake.Key(), "."); key != "" {
		message = key + ": " + message
	} else {
		message = "not TOML: " + message
	}
	return token.Span{Start: at, End: at}, message
}

// offset is the offset of a line and of a byte in it, both counted from 1.
func offset(text string, line, column int) token.Pos {
	at := 0
	for range line - 1 {
		next := strings.IndexByte(text[at:], '\n')
		if next < 0 {
			break
		}
		at += next + 1
	}
	return token.Pos(min(at+max(column, 1)-1, len(text)))
}
