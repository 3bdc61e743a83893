package lucene_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/eql/lucene"
)

// TestTranslation pins what Go's regexp package is given. What the expressions
// match is in the scripts of package program.
func TestTranslation(t *testing.T) {
	for expr, want := range map[string]string{
		"":             ``,
		"abc":          `abc`,
		"a.b":          `a.b`,
		"^a$":          `\^a\$`,
		"a|b":          `a|b`,
		"a*":           `(?:a)*`,
		"a+?":          `(?:(?:a)+)?`,
		"a{2}":         `(?:a){2,2}`,
		"a{2,}":        `(?:a){2,}`,
		"(ab)+":        `(?:(?:ab))+`,
		"()":           `(?:)`,
		"@":            `(?:.*)`,
		`"a.b"`:        `(?:a\.b)`,
		`\.`:           `\x2E`,
		`\d`:           `[0-9]`,
		`[a-z]`:        `[a-z]`,
		`[^a-z\d]`:     `[^a-z0-9]`,
		`[.*]`:         `[\x2E\x2A]`,
		`[\]]`:         `[\x5D]`,
		`[a-]`:         `[a\x2D]`,
		`/bin/\w+\.sh`: `/bin/(?:[0-9A-Za-z_])+\x2Esh`,
	} {
		re, err := lucene.Compile([]string{expr}, false)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		if got := re.String(); got != `(?s)\A(?:`+want+`)\z` {
			t.Errorf("%s: translated to %s, want (?s)\\A(?:%s)\\z", expr, got, want)
		}
	}
}

func TestFaults(t *testing.T) {
	for expr, offset := range map[string]int{
		"ab(":                     3,
		"ab)":                     2,
		"a||b":                    2,
		"a[b":                     3,
		"a{x}":                    2,
		"ab~c":                    2,
		`a\q`:                     3,
		strings.Repeat("(", 100):  51,
		strings.Repeat("x", 5000): 0,
		"(((a{99}){99}){99}){99}": 13,
	} {
		_, err := lucene.Compile([]string{expr}, false)
		var fault *lucene.Error
		if !errors.As(err, &fault) {
			t.Errorf("%.20s: %v, want a fault", expr, err)
			continue
		}
		if fault.Offset != offset {
			t.Errorf("%.20s: %v; fault at %d, want %d", expr, fault, fault.Offset, offset)
		}
	}
}

// TestTogether: expressions that fit one by one can be too large together.
func TestTogether(t *testing.T) {
	exprs := make([]string, 6)
	for i := range exprs {
		exprs[i] = "a{1000}"
		if _, err := lucene.Compile(exprs[i:i+1], false); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := lucene.Compile(exprs, false); err == nil {
		t.Error("6,000 characters are accepted")
	}
}

func TestSuspicious(t *testing.T) {
	for expr, want := range map[string]bool{
		"abc": false, "^abc": true, "abc$": true, `abc\$`: false, `a^b$c`: false, `\^a`: false,
	} {
		if got := lucene.Suspicious(expr) != ""; got != want {
			t.Errorf("%s: suspicious is %v", expr, got)
		}
	}
}

// FuzzCompile: whatever is written, it is refused with a reason or becomes an
// expression that Go accepts, and alternatives mean what their parts mean.
func FuzzCompile(f *testing.F) {
	for _, seed := range []string{"abc", "a|b", "(a+)?[^x-z]{2,3}", `\d"x"@#`, "[", "a{,}", `\`, "(?i)", "~", "ä*"} {
		f.Add(seed, "abc")
	}
	f.Fuzz(func(t *testing.T, expr, text string) {
		re, err := lucene.Compile([]string{expr}, false)
		if (re == nil) == (err == nil) {
			t.Fatalf("%q: expression %v together with error %v", expr, re, err)
		}
		if err != nil {
			if _, code, refused := strings.Cut(err.Error(), "too large: "); refused && !strings.HasPrefix(code, "invalid repeat count") &&
				!strings.HasPrefix(code, "expression ") {
				t.Fatalf("%q: translated to what Go cannot parse: %v", expr, err)
			}
			return
		}
		either, err := lucene.Compile([]string{"#", expr}, false)
		if err != nil {
			return // too large together
		}
		if either.MatchString(text) != re.MatchString(text) {
			t.Fatalf("%q matches %q alone but not beside another, or the other way round", expr, text)
		}
	})
}
