package replay

import (
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/portcullis-dev/portcullis/config"
	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/rule"
)

// A token is read by hand in cart-0, and then used; somebody execs into web-0.
const (
	tokenRead = `{"@timestamp":"2026-08-22T12:00:00Z","event.id":"t1","event.action":"open","event.type":"change","container.id":"c0ffee",` +
		`"file.path":"/var/run/secrets/kubernetes.io/serviceaccount/token","process":{"name":"cat","args":["cat","token"],"interactive":true},` +
		`"orchestrator":{"namespace":"shop","resource":{"id":"u-1","name":"cart-0"}}}`
	tokenUsed = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"b","stage":"ResponseComplete",` +
		`"requestURI":"/api/v1/secrets","verb":"list","user":{"username":"system:serviceaccount:shop:cart\u001b[31m","extra":{` +
		`"authentication.kubernetes.io/pod-name":["cart-0"],"authentication.kubernetes.io/pod-uid":["u-1"]}},` +
		`"requestReceivedTimestamp":"2026-08-22T12:00:01.000001Z","stageTimestamp":"2026-08-22T12:00:01.1Z"}`
	execInto = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"e","stage":"ResponseStarted",` +
		`"requestURI":"/api/v1/namespaces/shop/pods/cart-0/exec?command=sh","verb":"get","user":{"username":"alice"},` +
		`"objectRef":{"resource":"pods","namespace":"shop","name":"cart-0","apiVersion":"v1","subresource":"exec"},"responseStatus":{"code":101},` +
		`"annotations":{"authorization.k8s.io/decision":"allow"},` +
		`"requestReceivedTimestamp":"2026-08-22T11:59:59.000001Z","stageTimestamp":"2026-08-22T11:59:59.1Z"}`
)

func write(tb testing.TB, name string, lines ...string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// replay runs the command and returns what it printed.
func replay(tb testing.TB, stdin string, args ...string) (out, told string, err error) {
	tb.Helper()
	streams, in, stdout, stderr := genericiooptions.NewTestIOStreams()
	in.WriteString(stdin)
	command := New(streams)
	command.SetArgs(append([]string{}, args...)) // nil would be the test's own arguments
	command.SilenceErrors, command.SilenceUsage = true, true
	err = command.ExecuteContext(tb.Context())
	return stdout.String(), stderr.String(), err
}

func TestTable(t *testing.T) {
	t.Parallel()
	out, told, err := replay(t, "", "--audit", write(t, "audit.log", tokenUsed, execInto), "--telemetry", write(t, "telemetry.ndjson", tokenRead))
	if err != nil {
		t.Fatal(err)
	}
	const want = `TIME                      SEVERITY   RULE                            POD           USER                                        ACTION
2026-08-22 11:59:59.000   low        exec-into-pod                   shop/cart-0   alice                                       none
2026-08-22 12:00:01.000   high       token-access-then-api-request   shop/cart-0   system:serviceaccount:shop:cart\u{1b}[31m   would-quarantine
`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if want := fmt.Sprintf("2 detections by 2 of %d rules, in 2 audit events and 1 telemetry event\n", shipped(t)); told != want {
		t.Errorf("told %q, want %q", told, want)
	}
}

// shipped is how many rules come with Portcullis.
func shipped(tb testing.TB) int {
	tb.Helper()
	set, err := rule.Load(config.Rules(), rule.Options{Schema: field.New()})
	if err != nil {
		tb.Fatal(err)
	}
	return set.Len()
}

func TestModeAndWideTable(t *testing.T) {
	t.Parallel()
	out, _, err := replay(t, "", "--mode=enforce", "-owide", write(t, "all", tokenUsed, execInto, tokenRead))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{" quarantine ", "EVENTS", "1s", "by-name", "exact"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// Nothing but the recording and the rules decides what is printed.
func TestTheOrderOfFilesDoesNotMatter(t *testing.T) {
	t.Parallel()
	files := [][]string{{"--audit", write(t, "a.log", tokenUsed)}, {"--telemetry", write(t, "t.ndjson", tokenRead)}, {write(t, "b.log", execInto, tokenUsed)}}
	for _, format := range []string{"table", "wide", "ndjson", "json"} {
		var first string
		for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {1, 0, 2}} {
			args := []string{"-o", format}
			for _, i := range order {
				args = append(args, files[i]...)
			}
			out, _, err := replay(t, "", args...)
			if err != nil {
				t.Fatal(err)
			}
			if first == "" {
				first = out
			}
			if diff := cmp.Diff(first, out); diff != "" || len(out) == 0 {
				t.Errorf("%s in the order %v (-first +now):\n%s", format, order, diff)
			}
		}
	}
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	all := strings.Join([]string{tokenUsed, execInto, tokenRead}, "\n")
	lines, _, err := replay(t, all, "-", "-o", "ndjson")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(lines) {
		var document struct {
			Rule       struct{ ID string }
			Portcullis struct {
				Detection struct {
					Delay  map[string]float64
					Events []struct{ ID string }
				}
			}
		}
		if err = json.Unmarshal([]byte(line), &document); err != nil {
			t.Fatal(err)
		}
		names = append(names, document.Rule.ID)
		for name, ms := range document.Portcullis.Detection.Delay {
			if ms != 0 {
				t.Errorf("a replay has a delay: %s %f", name, ms)
			}
		}
	}
	if diff := cmp.Diff([]string{"exec-into-pod", "token-access-then-api-request"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if strings.ContainsRune(lines, '\x1b') {
		t.Error("an escape sequence reaches the terminal")
	}
	document, _, err := replay(t, all, "-", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var whole result
	if err := json.Unmarshal([]byte(document), &whole); err != nil {
		t.Fatal(err)
	}
	if len(whole.Detections) != 2 {
		t.Errorf("the document has %d detections, want 2", len(whole.Detections))
	}
	whole.Detections = nil
	if diff := cmp.Diff(result{Rules: shipped(t), AuditEvents: 2, TelemetryEvents: 1}, whole); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

const ownRule = `apiVersion: portcullis.dev/v1alpha1
kind: DetectionRule
metadata: {name: shell}
spec:
  title: A shell
  description: A shell
  severity: low
  riskScore: 1
  query: process where process.name == "sh"
`

const elasticRule = `[metadata]
creation_date = "2026/01/01"
maturity = "production"
updated_date = "2026/01/01"
[rule]
author = ["somebody"]
description = "A cat at work."
name = "Cat at work"
risk_score = 21
rule_id = "0d1e5ad8-6bd8-4ea7-a8e5-6b0f0e6f1f7b"
severity = "low"
type = "%s"
language = "%s"
query = '''
file where process.name == "cat"
'''
`

func TestRules(t *testing.T) {
	t.Parallel()
	input := write(t, "t.ndjson", tokenRead, `{"@timestamp":"2026-08-22T12:00:05Z","process.name":"sh","event.id":"s"}`)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"own.yaml": ownRule, "own_test.yaml": "no rule", "cat.toml": fmt.Sprintf(elasticRule, "eql", "eql"),
		"other.toml": strings.ReplaceAll(fmt.Sprintf(elasticRule, "query", "kuery"), "0d1e", "0d1f"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		args []string
		want []string
		told string
	}{
		{[]string{"--rules", dir}, []string{"cat", "shell"}, "1 rule of Elastic's do not run here"},
		{[]string{"--rules", filepath.Join(dir, "own.yaml"), "--shipped"}, []string{"shell"}, fmt.Sprintf("by 1 of %d rules", shipped(t)+1)},
		{[]string{"--rules", filepath.Join(dir, "cat.toml")}, []string{"cat"}, "by 1 of 1 rule,"},
		{nil, nil, fmt.Sprintf("0 detections by 0 of %d rules", shipped(t))},
	} {
		out, told, err := replay(t, "", append(row.args, input)...)
		if err != nil {
			t.Fatalf("%v: %v\n%s", row.args, err, told)
		}
		var got []string
		for line := range strings.Lines(out) {
			if fields := strings.Fields(line); fields[0] != "TIME" {
				got = append(got, fields[3])
			}
		}
		if diff := cmp.Diff(row.want, got); diff != "" || !strings.Contains(told, row.told) {
			t.Errorf("%v: told %q (-want +got):\n%s", row.args, told, diff)
		}
	}
}

func TestMistakes(t *testing.T) {
	t.Parallel()
	good := write(t, "good", tokenUsed, execInto)
	torn := write(t, "torn", tokenUsed, execInto, `{"kind":"Event"`)
	if err := os.Truncate(torn, int64(len(tokenUsed+execInto)+10)); err != nil {
		t.Fatal(err)
	}
	bad := write(t, "bad", append(slices.Repeat([]string{"no \x1b[2Jevent"}, 15), execInto)...)
	broken := write(t, "broken.yaml", strings.ReplaceAll(ownRule, "process.name", "process.nmae"))
	for name, row := range map[string]struct {
		args []string
		// detections is how many lines the output has.
		lines int
		told  []string
		err   string
	}{
		"nothing named":       {nil, 0, nil, "nothing to replay"},
		"no such file":        {[]string{"--audit", good + "x", good + "y"}, 0, nil, "no such file"},
		"no such rules":       {[]string{"--rules", good + "x", good}, 0, nil, "read rules: stat"},
		"bad rule":            {[]string{"--rules", broken, good}, 0, []string{"did you mean process.name?"}, "the rules have 1 error, nothing was replayed"},
		"no rules":            {[]string{"--rules", t.TempDir(), good}, 0, nil, "there are no rules that run"},
		"unknown format":      {[]string{"-o", "xml", good}, 0, nil, "must be one of json, ndjson, table, wide"},
		"unknown mode":        {[]string{"--mode", "deny", good}, 0, nil, "must be one of enforce, observe"},
		"torn line":           {[]string{torn}, 2, []string{"torn:3: the last line is cut off"}, ""},
		"torn line, strict":   {[]string{"--strict", torn}, 2, []string{"torn:3: the last line is cut off"}, "1 line could not be read"},
		"many bad lines":      {[]string{bad}, 2, []string{"bad:10: not JSON", "left out: 5 lines more"}, ""},
		"telemetry as audit":  {[]string{"--audit", good, "--audit", write(t, "t.ndjson", tokenRead)}, 2, nil, "t.ndjson: none of 1 lines is an audit event: is it another file, or are they telemetry documents?"},
		"audit as telemetry":  {[]string{"--telemetry", good}, 0, nil, "none of 2 lines is a telemetry document"},
		"names from shippers": {[]string{write(t, "s", `{"@timestamp":"2026-08-22T12:00:05Z","process.name":"sh","agent.id":"x"}`)}, 0, []string{"ignored in telemetry, as they are no fields: agent.id"}, ""},
	} {
		out, told, err := replay(t, "", row.args...)
		if n := strings.Count(out, "\n"); n != row.lines {
			t.Errorf("%s: printed %d lines, want %d:\n%s", name, n, row.lines, out)
		}
		for _, want := range row.told {
			if !strings.Contains(told, want) {
				t.Errorf("%s: does not tell %q:\n%s", name, want, told)
			}
		}
		if strings.Contains(told, "\x1b") {
			t.Errorf("%s: an escape sequence reaches the terminal", name)
		}
		if row.err == "" && err != nil || row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)) {
			t.Errorf("%s: error %v, want %q", name, err, row.err)
		}
	}
}

func TestCompressedInput(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	for _, line := range []string{execInto, tokenUsed, tokenRead} {
		fmt.Fprintln(z, line)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if out, _, err := replay(t, "", path); err != nil || strings.Count(out, "\n") != 3 {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	streams, _, _, _ := genericiooptions.NewTestIOStreams()
	command := New(streams)
	complete, ok := command.GetFlagCompletionFunc("output")
	if !ok {
		t.Fatal("-o completes nothing")
	}
	if words, _ := complete(command, nil, ""); !slices.Equal(words, []string{"json", "ndjson", "table", "wide"}) {
		t.Errorf("-o completes %q", words)
	}
}

var rewrite = flag.Bool("rewrite", false, "rewrite golden files; commit the diff only if you understand it")

// What docs/samples recorded of a real cluster makes the detections that its
// page tells of, and no others.
func TestSampleRecordings(t *testing.T) {
	t.Parallel()
	samples := filepath.Join("..", "..", "docs", "samples")
	out, told, err := replay(t, "", "--audit", filepath.Join(samples, "audit.log.gz"), "--telemetry", filepath.Join(samples, "telemetry.ndjson.gz"))
	if err != nil {
		t.Fatalf("%v\n%s", err, told)
	}
	golden := filepath.Join("testdata", "samples.golden")
	if *rewrite {
		if err = os.WriteFile(golden, []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, quiet := range []string{"cart-0", "eve"} {
		if strings.Contains(out, quiet) {
			t.Errorf("%s did nothing, and is told of", quiet)
		}
	}
}
