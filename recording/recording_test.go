package recording

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
)

const execOf = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"%s","stage":"ResponseStarted",` +
	`"requestURI":"/api/v1/namespaces/shop/pods/%[2]s/exec?command=sh","verb":"get","user":{"username":"alice"},` +
	`"objectRef":{"resource":"pods","namespace":"shop","name":"%[2]s","apiVersion":"v1","subresource":"exec"},` +
	`"responseStatus":{"metadata":{},"code":101},"requestReceivedTimestamp":"2026-08-22T12:00:00.000001Z","stageTimestamp":"2026-08-22T12:00:00.1Z"}`

const byPod = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"b","stage":"ResponseComplete",` +
	`"requestURI":"/api","verb":"get","user":{"username":"system:serviceaccount:shop:cart","extra":{` +
	`"authentication.kubernetes.io/pod-name":["%s"],"authentication.kubernetes.io/pod-uid":["%s"]}},` +
	`"requestReceivedTimestamp":"2026-08-22T12:00:01.000001Z","stageTimestamp":"2026-08-22T12:00:01.1Z"}`

const process = `{"@timestamp":"2026-08-22T12:00:0%d.5Z","event.id":"%s","process":{"name":"sh","args":["sh"]},` +
	`"orchestrator":{"namespace":"shop","resource":{"id":"%s","name":"%s"}}}`

// write makes a file and returns its path.
func write(tb testing.TB, name string, content ...string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, []byte(strings.Join(content, "")), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

func gzipped(tb testing.TB, text string) string {
	tb.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := io.WriteString(w, text); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.String()
}

func zstandard(tb testing.TB, text string) string {
	tb.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return string(w.EncodeAll([]byte(text), nil))
}

func open(tb testing.TB, o Options) *Reader {
	tb.Helper()
	o.Schema = field.New()
	r, err := Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := r.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return r
}

// all reads everything: short names of the events, and the errors.
func all(tb testing.TB, r *Reader) (events []*event.Event, problems []string) {
	tb.Helper()
	for e, err := range r.Events() {
		if (e == nil) == (err == nil) {
			tb.Fatalf("event %v with error %v", e, err)
		}
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		events = append(events, e)
	}
	return events, problems
}

// names are what tells the events apart.
func names(events []*event.Event) []string {
	out := make([]string, 0, len(events))
	for _, e := range events {
		if e.Audit != nil {
			out = append(out, e.Audit.AuditID)
		} else {
			out = append(out, e.ID)
		}
	}
	slices.Sort(out)
	return out
}

func audits(paths ...string) []Input {
	inputs := make([]Input, 0, len(paths))
	for _, p := range paths {
		inputs = append(inputs, Input{Audit, p})
	}
	return inputs
}

func telemetries(paths ...string) []Input {
	inputs := make([]Input, 0, len(paths))
	for _, p := range paths {
		inputs = append(inputs, Input{Telemetry, p})
	}
	return inputs
}

func pretty(tb testing.TB, text string) string {
	tb.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, []byte(text), "", "  "); err != nil {
		tb.Fatal(err)
	}
	return out.String()
}

func TestFormats(t *testing.T) {
	t.Parallel()
	lines := fmt.Sprintf(execOf, "a", "cart-0") + "\n" + fmt.Sprintf(byPod, "cart-0", "u-1") + "\n"
	list := `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + strings.ReplaceAll(strings.TrimSpace(lines), "\n", ",") + `]}`
	spaced := strings.Replace(lines, `"kind":"Event",`, ` "level": "x", "kind": "Event", `, 1)
	for name, content := range map[string]string{
		"lines": lines, "without a last newline": strings.TrimSuffix(lines, "\n"), "empty lines": "\n\n" + lines + "\n \n",
		"CRLF": strings.ReplaceAll(lines, "\n", "\r\n"), "keys in another order": spaced,
		"list": list, "pretty list": pretty(t, list), "pretty array": pretty(t, "["+strings.ReplaceAll(strings.TrimSpace(lines), "\n", ",")+"]"),
		"two lists": list + "\n" + list,
	} {
		for form, content := range map[string]string{"plain": content, "gzip": gzipped(t, content), "zstd": zstandard(t, content),
			"two gzip members": gzipped(t, content) + gzipped(t, "")} {
			path := write(t, "audit.log", content)
			r := open(t, Options{Inputs: audits(path)})
			events, problems := all(t, r)
			want := []string{"a", "b"}
			if name == "two lists" {
				want = []string{"a", "a", "b", "b"}
			}
			if diff := cmp.Diff(want, names(events)); diff != "" || problems != nil {
				t.Errorf("%s, %s: %q (-want +got):\n%s", name, form, problems, diff)
			}
			if r.Read() != int64(len(content)) || r.Size() != int64(len(content)) {
				t.Errorf("%s, %s: %d bytes of %d read, want %d", name, form, r.Read(), r.Size(), len(content))
			}
		}
	}
}

func TestTelemetry(t *testing.T) {
	t.Parallel()
	lines := fmt.Sprintf(process, 1, "p1", "u-1", "cart-0") + "\n" +
		`{"@timestamp":"2026-08-22T12:00:02Z","event.ingested":"2026-08-22T12:00:03Z","file.path":"/x","event.id":"p2","agent":{"id":"filebeat"},"ecs.version":"8"}` + "\n" +
		`{"@timestamp":"2026-08-22T12:00:02Z","kubernetes.audit.verb":"get","event.id":"p3","kubernetes.audit.auditID":"p3","agent.id":"x"}` + "\n"
	r := open(t, Options{Inputs: telemetries("-"), Stdin: strings.NewReader(lines)})
	events, problems := all(t, r)
	if diff := cmp.Diff([]string{"p1", "p2", "p3"}, names(events)); diff != "" || problems != nil {
		t.Errorf("%q (-want +got):\n%s", problems, diff)
	}
	if r.Size() != -1 || r.Read() != int64(len(lines)) {
		t.Errorf("%d bytes of %d read", r.Read(), r.Size())
	}
	want := Counts{Events: 3, Unknown: map[string]int{"agent.id": 2, "ecs.version": 1}}
	if diff := cmp.Diff(want, r.Counts()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	for _, e := range events {
		if !e.Received.IsZero() {
			t.Errorf("%s was received at %s", e.ID, e.Received)
		}
	}
}

func TestBadLinesAreToldAndSkipped(t *testing.T) {
	t.Parallel()
	good := fmt.Sprintf(byPod, "cart-0", "u-1") + "\n"
	document := fmt.Sprintf(process, 1, "p", "u-1", "cart-0") + "\n"
	for name, row := range map[string]struct {
		kind     Kind
		content  string
		events   int
		problems []string
	}{
		"empty file":   {Audit, "", 0, nil},
		"empty lines":  {Audit, "\n\n", 0, nil},
		"a bad line":   {Audit, good + "{\"a\n" + good, 2, []string{"FILE:2: not JSON: unexpected end of JSON input"}},
		"no JSON":      {Audit, good + "panic: \x1b[31m\n", 1, []string{"FILE:2: not JSON: invalid character 'p' looking for beginning of value"}},
		"torn":         {Audit, good + good[:60], 1, []string{"FILE:2: the last line is cut off"}},
		"torn early":   {Audit, good + good[:5], 1, []string{"FILE:2: the last line is cut off"}},
		"torn start":   {Audit, good[60:] + good, 1, []string{"FILE:1: not JSON: invalid character 'd' looking for beginning of value"}},
		"other kind":   {Audit, good + `{"kind":"Pod","apiVersion":"v1"}` + "\n", 1, []string{`FILE:2: want apiVersion audit.k8s.io/v1, got "v1"`}},
		"other object": {Audit, good + `{"kind":"Policy","apiVersion":"audit.k8s.io/v1"}` + "\n", 1, []string{`FILE:2: want kind Event or EventList, got "Policy"`}},
		"no time": {Audit, good + `{"kind":"Event","apiVersion":"audit.k8s.io/v1","verb":"get"}` + "\n", 1,
			[]string{"FILE:2: neither requestReceivedTimestamp nor stageTimestamp is set"}},
		"too long":        {Audit, good + strings.Repeat("x", 5000) + "\n" + good, 2, []string{"FILE:2: the line is too long"}},
		"too long at end": {Audit, good + strings.Repeat("x", 5000), 1, []string{"FILE:2: the line is too long"}},
		"telemetry as audit": {Audit, document + document, 0, []string{`FILE:1: want apiVersion audit.k8s.io/v1, got ""`, `FILE:2: want apiVersion audit.k8s.io/v1, got ""`,
			"FILE: none of 2 lines is an audit event: is it another file, or are they telemetry documents?"}},
		"audit as telemetry": {Telemetry, good, 0, []string{"FILE:1: no @timestamp",
			"FILE: none of 1 lines is a telemetry document: is it another file, or are they audit events?"}},
		"bad document": {Telemetry, document + `{"process.pid":"x","process.args":"y","user.id":"z"}` + "\n", 1, []string{`FILE:2: ` +
			`process.pid: want a whole number from 0 to 4294967295, got "x"; user.id: want the number of a process' user or group, 0 to 4294967295, got "z"`}},
		"no document":      {Telemetry, document + "[1]\nnull\n5\n", 1, []string{"FILE:2: not JSON: json: cannot unmarshal number into Go value of type map[string]interface {}", "FILE:3: no @timestamp", "FILE:4: not JSON: json: cannot unmarshal number into Go value of type map[string]interface {}"}},
		"unfinished value": {Audit, "{\n\"kind\":\n", 0, []string{"FILE:2: not JSON: unexpected end of JSON input", "FILE: none of 1 lines is an audit event: is it another file, or are they telemetry documents?"}},
		"torn gzip":        {Audit, gzipped(t, good+good)[:100], 0, []string{"FILE:1: the last line is cut off"}},
	} {
		path := write(t, "file", row.content)
		r := open(t, Options{Inputs: []Input{{row.kind, path}}, MaxLine: 4096})
		events, problems := all(t, r)
		for i, p := range problems {
			problems[i] = strings.ReplaceAll(p, path, "FILE")
		}
		if len(events) != row.events {
			t.Errorf("%s: %d events, want %d", name, len(events), row.events)
		}
		if diff := cmp.Diff(row.problems, problems); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestFilesThatCannotBeReadAreToldAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := Open(Options{Schema: field.New(), Inputs: append(audits(filepath.Join(dir, "none"), dir, "-", "-"), Input{Telemetry, filepath.Join(dir, "nor this")}), Stdin: strings.NewReader("")})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"open audit log: open " + dir + "/none: no such file", dir + " is a folder", "nor this: no such file", `"-" is given twice`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q:\n%v", want, err)
		}
	}
	// A file that turns out to be broken does not keep the next from being read.
	broken := write(t, "broken.gz", "\x1f\x8bnonsense")
	good := write(t, "good", fmt.Sprintf(byPod, "cart-0", "u-1"))
	r := open(t, Options{Inputs: audits(broken, good)})
	events, problems := all(t, r)
	if len(events) != 1 || len(problems) != 1 || !strings.Contains(problems[0], "read "+broken+": gzip: ") {
		t.Errorf("%d events, problems %q", len(events), problems)
	}
}

func TestAZstdFileCannotAskForMuchMemory(t *testing.T) {
	t.Parallel()
	// A frame header that asks for a window of 2 GiB.
	path := write(t, "x.zst", "\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00")
	_, problems := all(t, open(t, Options{Inputs: audits(path)}))
	if len(problems) != 1 || !strings.Contains(problems[0], "window") {
		t.Errorf("problems: %q", problems)
	}
}

// What the recording says of pods completes its events, in any order of files.
func TestIdentityComesFromTheRecording(t *testing.T) {
	t.Parallel()
	audit := write(t, "audit.log", fmt.Sprintf(execOf, "cart", "cart-0"), "\n", fmt.Sprintf(execOf, "web", "web-0"), "\n", fmt.Sprintf(execOf, "gone", "gone-0"), "\n",
		fmt.Sprintf(byPod, "web-0", "u-3"), "\n")
	telemetry := write(t, "telemetry.ndjson", fmt.Sprintf(process, 1, "p1", "u-1", "cart-0"), "\n", fmt.Sprintf(process, 2, "p2", "u-2", "web-0"), "\n",
		`{"@timestamp":"2026-08-22T12:00:04Z","event.id":"unnamed","process.name":"x","orchestrator.resource.id":"u-3"}`, "\n",
		`{"@timestamp":"2026-08-22T12:00:04Z","event.id":"noone","process.name":"x","orchestrator.resource.id":"u-9"}`, "\n",
		`{"@timestamp":"2026-08-22T12:00:04Z","event.id":"by-name","process.name":"x","orchestrator":{"namespace":"shop","resource.name":"cart-0"}}`, "\n")
	want := map[string]event.Pod{
		"cart":    {UID: "u-1", Namespace: "shop", Name: "cart-0", Confidence: event.ByName},
		"web":     {Namespace: "shop", Name: "web-0", Confidence: event.Ambiguous, Candidates: []string{"u-2", "u-3"}},
		"gone":    {Namespace: "shop", Name: "gone-0"},
		"b":       {UID: "u-3", Namespace: "shop", Name: "web-0", Confidence: event.Exact},
		"p1":      {UID: "u-1", Namespace: "shop", Name: "cart-0", Confidence: event.Exact},
		"p2":      {UID: "u-2", Namespace: "shop", Name: "web-0", Confidence: event.Exact},
		"unnamed": {UID: "u-3", Namespace: "shop", Name: "web-0", Confidence: event.Exact},
		"noone":   {UID: "u-9", Confidence: event.Exact},
		"by-name": {UID: "u-1", Namespace: "shop", Name: "cart-0", Confidence: event.ByName},
	}
	for name, inputs := range map[string][]Input{
		"audit first":     append(audits(audit), telemetries(telemetry)...),
		"telemetry first": append(telemetries(telemetry), audits(audit)...),
	} {
		events, problems := all(t, open(t, Options{Inputs: inputs}))
		got := map[string]event.Pod{}
		for _, e := range events {
			got[names([]*event.Event{e})[0]] = e.SubjectPod()
		}
		if diff := cmp.Diff(want, got); diff != "" || problems != nil {
			t.Errorf("%s: %q (-want +got):\n%s", name, problems, diff)
		}
	}
}

func TestAnyFile(t *testing.T) {
	t.Parallel()
	path := write(t, "both", fmt.Sprintf(byPod, "cart-0", "u-1"), "\n", fmt.Sprintf(process, 1, "p1", "u-1", "cart-0"), "\n",
		`{"@timestamp":"2026-08-22T12:00:00Z","event.id":"p2","process.args":["grep","audit.k8s.io/v1"]}`, "\nno\n")
	events, problems := all(t, open(t, Options{Inputs: []Input{{Any, path}}}))
	if diff := cmp.Diff([]string{"b", "p1", "p2"}, names(events)); diff != "" || len(problems) != 1 {
		t.Errorf("%q (-want +got):\n%s", problems, diff)
	}
}

// Logs of one API server that overlap have the same events, however the files are called.
func TestTheSameLineIsTheSameEvent(t *testing.T) {
	t.Parallel()
	line := fmt.Sprintf(byPod, "cart-0", "u-1")
	list := `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","items":[` + line + `]}`
	events, _ := all(t, open(t, Options{Inputs: audits(write(t, "a.log", line), write(t, "b.log", list))}))
	if len(events) != 2 || events[0].ID != events[1].ID || events[0].Request != events[1].Request {
		t.Errorf("%d events with other IDs", len(events))
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	var lines strings.Builder
	for i := range 100 {
		fmt.Fprintf(&lines, execOf+"\n", fmt.Sprint(i), fmt.Sprintf("pod-%d", i))
	}
	r := open(t, Options{Inputs: audits(write(t, "a", lines.String()), write(t, "b", lines.String())), MaxMemory: 50 << 10})
	var got []error
	for _, err := range r.Events() {
		got = append(got, err)
	}
	if len(got) != 1 || !errors.Is(got[0], ErrTooLarge) {
		t.Errorf("got %v, want one %v", got, ErrTooLarge)
	}
}

func TestTheCallerMayStop(t *testing.T) {
	t.Parallel()
	path := write(t, "a", strings.Repeat(fmt.Sprintf(byPod, "cart-0", "u-1")+"\nbad\n", 3), strings.Repeat(fmt.Sprintf(execOf, "a", "cart-0")+"\n", 3))
	for n := 1; n <= 9; n++ {
		r := open(t, Options{Inputs: audits(path, path)})
		seen := 0
		for range r.Events() {
			if seen++; seen == n {
				break
			}
		}
		if seen != n {
			t.Errorf("stopped after %d, saw %d", n, seen)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(fmt.Sprintf(execOf, "a", "cart-0")+"\n"+fmt.Sprintf(byPod, "cart-0", "u-1")), true)
	f.Add([]byte(fmt.Sprintf(process, 1, "p", "u-1", "cart-0")+"\n{\n"), false)
	f.Add([]byte("{\n\"a\":\n"), true)
	f.Add([]byte("[{}]\n"), false)
	schema := field.New()
	f.Fuzz(func(t *testing.T, content []byte, audit bool) {
		input := Input{Telemetry, "-"}
		if audit {
			input.Kind = Audit
		}
		r, err := Open(Options{Schema: schema, Inputs: []Input{input}, Stdin: bytes.NewReader(content), MaxLine: 1 << 16})
		if err != nil {
			t.Fatal(err)
		}
		events, bad := 0, 0
		for e, err := range r.Events() {
			var line *LineError
			switch {
			case (e == nil) == (err == nil):
				t.Fatalf("event %v with error %v", e, err)
			case err == nil && (e.ID == "" || e.Request == "" || e.Time.IsZero()):
				t.Fatalf("incomplete event %+v", e)
			case err == nil:
				events++
			case errors.As(err, &line):
				bad++
			}
		}
		if c := r.Counts(); c.Events != events || c.Bad != bad {
			t.Fatalf("counted %+v, saw %d events and %d bad lines", c, events, bad)
		}
	})
}
