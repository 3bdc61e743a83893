package webhook

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admission "k8s.io/api/admission/v1"
)

// reviews are recorded ones, as API servers send them and indented.
func reviews(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	out := map[string][]byte{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var sent bytes.Buffer
		if err := json.Compact(&sent, text); err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		out[name], out[name+", indented"] = sent.Bytes(), text
	}
	return out
}

// agree has both decoders read a review: what the scanner reads, encoding/json must read as well.
func agree(t *testing.T, body []byte) (isScanned bool) {
	t.Helper()
	got, ok := scanned(body)
	if !ok {
		return false
	}
	var want review
	if err := json.Unmarshal(body, &want); err != nil {
		t.Fatalf("%q is scanned, and is none: %v", body, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%q (-encoding/json +scanned):\n%s", body, diff)
	}
	return true
}

func TestReviewsThatAPIServersUsuallySendAreScanned(t *testing.T) {
	for name, body := range reviews(t) {
		kind, _, _ := strings.Cut(name, ",")
		if got, want := agree(t, body), kind != "debug"; got != want { // That has pods.
			t.Errorf("%s is scanned: %v, want %v", name, got, want)
		}
	}
}

func TestWhatIsUnusualIsLeftToAnotherDecoder(t *testing.T) {
	const usual = `{"kind":"AdmissionReview","request":{"uid":"u","object":{"kind":"PodExecOptions","command":["sh"],"stdin":true},"options":{"a":[1]}}}`
	replaced := func(old, by string) string {
		if !strings.Contains(usual, old) {
			t.Fatalf("no %s", old)
		}
		return strings.Replace(usual, old, by, 1)
	}
	for name, body := range map[string]string{
		"a name twice":               replaced(`"uid":"u"`, `"uid":"u","uid":"v"`),
		"a name in upper case":       replaced(`"kind":"Ad`, `"Kind":"Ad`),
		"a name with an escape":      replaced(`"uid"`, `"u\u0069d"`),
		"a name that folds":          replaced(`"kind":"Ad`, "\"\u212aind\":\"Ad"),
		"a number":                   usual,
		"no quotes":                  replaced(`"u"`, `u`),
		"a text that never ends":     replaced(`true},"options":{"a":[1]}}}`, `true},"options":"`),
		"another type":               replaced(`["sh"]`, `"sh"`),
		"null in a list":             replaced(`["sh"]`, `[null]`),
		"null for a text":            replaced(`"u"`, `null`),
		"a word that is too long":    replaced(`true`, `truer`),
		"no comma":                   replaced(`"u",`, `"u"`),
		"a comma too many":           replaced(`[1]`, `["",]`),
		"a member too few":           replaced(`{"a":[1]}`, `{"a":"",}`),
		"a control character":        replaced(`"sh"`, "\"\x01\""),
		"an escape that is none":     replaced(`"sh"`, `"\x"`),
		"a brace too many":           replaced(`[1]`, `[]`) + "}",
		"a zero byte behind":         replaced(`[1]`, `[]`) + "\x00",
		"a pod":                      replaced(`"stdin":true`, `"metadata":{"uid":"p"}`),
		"deep":                       replaced(`[1]`, strings.Repeat("[", 99)+strings.Repeat("]", 99)),
		"long":                       replaced(`[1]`, `[]`) + strings.Repeat(" ", maxScanned),
		"an old object":              replaced(`"uid":"u"`, `"uid":"u","oldObject":{}`),
		"nothing":                    "",
		"a list":                     "[]",
		"null":                       "null",
		"half of a name":             `{"ki`,
		"a value that is not there":  `{"kind":`,
		"an escape that never ends":  `{"kind":"\`,
		"a text in a list, no comma": replaced(`["sh"]`, `["sh" "x"]`),
	} {
		if agree(t, []byte(body)) {
			t.Errorf("%s is scanned: %q", name, body)
		}
	}
	for name, body := range map[string]string{
		"usual":            replaced(`[1]`, `[null,true,false,{},[],"\u0041"]`),
		"escapes":          strings.Replace(replaced(`[1]`, `[]`), `"sh"`, `"\u0026\n\"\\\ud83d\ude00\ud800"`, 1),
		"broken UTF-8":     strings.Replace(replaced(`[1]`, `[]`), `"sh"`, "\"\xff\u00e9\"", 1),
		"empty lists":      strings.Replace(replaced(`[1]`, `[]`), `["sh"]`, "[]", 1),
		"an empty user":    strings.Replace(replaced(`[1]`, `[]`), `"uid":"u"`, `"userInfo":{"extra":{},"groups":[]}`, 1),
		"an extra twice":   strings.Replace(replaced(`[1]`, `[]`), `"uid":"u"`, `"userInfo":{"extra":{"a":["b"],"a":["c"]}}`, 1),
		"spaces all about": strings.Replace(replaced(`[1]`, " [ \n] "), `:`, " :\t", 2) + "\r\n",
	} {
		if !agree(t, []byte(body)) {
			t.Errorf("%s is not scanned: %q", name, body)
		}
	}
}

// FuzzScanned sends anything: nothing is read in another way than encoding/json reads it.
func FuzzScanned(f *testing.F) {
	for _, body := range reviews(f) {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) { agree(t, body) })
}

func BenchmarkDecode(b *testing.B) {
	body := reviews(b)["exec"]
	b.Run("scanned", func(b *testing.B) {
		for b.Loop() {
			if _, ok := scanned(body); !ok {
				b.Fatal("it is not")
			}
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		for b.Loop() {
			var rev review
			if err := json.Unmarshal(body, &rev); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// What is written without json.Marshal is what that would write, and everything else is left to it.
func TestTheUsualAnswerIsWrittenAsJSON(t *testing.T) {
	usual := func(change func(*answer)) *answer {
		a := &answer{verdict: Verdict{Allowed: true}, annotations: map[string]string{"session": "s-1", "decision": "allow"}, decision: "allow"}
		change(a)
		return a
	}
	for name, tt := range map[string]struct {
		uid     string
		answer  *answer
		isUsual bool
	}{
		"usual":             {"u-1", usual(func(*answer) {}), true},
		"another decision":  {"", usual(func(a *answer) { a.annotations["decision"] = "deny" }), true},
		"a quote":           {`u"`, usual(func(*answer) {}), false},
		"a letter":          {"u", usual(func(a *answer) { a.annotations["session"] = "é" }), false},
		"a character":       {"u\n", usual(func(*answer) {}), false},
		"HTML":              {"u", usual(func(a *answer) { a.annotations["session"] = "<" }), false},
		"a denial":          {"u", usual(func(a *answer) { a.verdict, a.code = Verdict{Message: "no"}, 403 }), false},
		"a warning":         {"u", usual(func(a *answer) { a.warnings = []string{"w"} }), false},
		"more annotations":  {"u", usual(func(a *answer) { a.annotations["rule"] = "r" }), false},
		"other annotations": {"u", usual(func(a *answer) { a.annotations = map[string]string{"session": "s", "failure": "f", "decision": "d"} }), false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, got := encodeUsual(tt.uid, tt.answer); got != tt.isUsual {
				t.Errorf("it is usual: %v, want %v", got, tt.isUsual)
			}
			body, err := encode(tt.uid, tt.answer)
			if err != nil {
				t.Fatal(err)
			}
			var review admission.AdmissionReview
			if err = json.Unmarshal(body, &review); err != nil {
				t.Fatalf("%q: %v", body, err)
			}
			want, err := json.Marshal(review)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(body)); diff != "" {
				t.Errorf("(-json.Marshal +encode):\n%s", diff)
			}
			if string(review.Response.UID) != tt.uid || review.Response.Allowed != tt.answer.verdict.Allowed || !maps.Equal(review.Response.AuditAnnotations, tt.answer.annotations) {
				t.Errorf("%q says %+v", body, review.Response)
			}
		})
	}
}
