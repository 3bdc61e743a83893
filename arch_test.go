package portcullis_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/go/packages"
)

const module = "github.com/portcullis-dev/portcullis"

// allowed says which of our packages each part may import: itself and its
// sub-packages always, and what stands here. A part that is not listed may
// import nothing of ours. Arrows point from the edges (cmd, app) to the
// vocabulary (event, eql), and never back.
var allowed = map[string][]string{
	"event":        {},
	"eql":          {},
	"api":          {},
	"config":       {},
	"pki":          {},
	"auditsink":    {"event"},
	"collector":    {"endpoint", "event", "api/telemetry", "skew"},
	"canary":       {"event", "skew"},
	"coverage":     {"event"},
	"status":       {},
	"skew":         {},
	"steady":       {},
	"agent":        {"api/telemetry"},
	"endpoint":     {},
	"webhook":      {"event"},
	"identity":     {"event"},
	"bus":          {"event"},
	"backlog":      {},
	"barrier":      {},
	"record":       {"backlog", "event"},
	"jetstream":    {"bus", "event"},
	"rule":         {"eql", "event"},
	"ruleproof":    {"correlator", "eql", "event", "rule"},
	"ruletest":     {"correlator", "eql", "event", "rule"},
	"correlator":   {"event", "eql", "rule", "bus"},
	"execsession":  {"event"},
	"quarantine":   {"event", "api/v1alpha1"},
	"enforcement":  {"event", "rule", "api/v1alpha1"},
	"notify":       {"backlog", "event"},
	"telemetrylog": {"event"},
	"recording":    {"auditsink", "correlator/field", "event"},
	"ctl":          {"api", "config", "eql", "execsession", "pki", "rule", "ruleproof", "ruletest", "event", "correlator", "notify", "recording", "status"},
	"app":          {"*"},
	"cmd":          {"*"},
	"hack/cluster": {"hack/image"},
	"hack/fuzz":    {},
	"hack/image":   {},
	"hack/release": {"hack/image"},
	"charts":       {},
	"test":         {"*"},
}

// forbidden are dependencies, direct or not, that a part must never link, each with its reason.
var forbidden = []struct{ part, dependency, reason string }{
	{"agent", "k8s.io/", "the agent runs privileged on every node: it speaks to the collector and to nothing else"},
	{"agent", "sigs.k8s.io/", "the agent runs privileged on every node: it speaks to the collector and to nothing else"},
	{"cmd/portcullis-agent", "k8s.io/", "the agent runs privileged on every node: it speaks to the collector and to nothing else"},
	{"cmd/portcullis-agent", module + "/correlator", "the agent links none of the server"},
	{"eql", "k8s.io/", "the language reads events through its own interface"},
	{"event", "k8s.io/", "the vocabulary is plain data"},
	{"correlator", "k8s.io/client-go", "the join knows events, not clusters"},
	{"cmd/portcullis", "github.com/cilium/ebpf", "only the agent touches the kernel"},
}

// standardOnly are parts that import nothing but the standard library.
var standardOnly = []string{"event", "correlator/sequence"}

// pure are parts that hold no clock, goroutine or I/O: any history can be replayed through them.
var pure = []string{"correlator/sequence", "execsession/join"}

func load(t *testing.T) map[string]*packages.Package {
	t.Helper()
	pkgs, err := packages.Load(&packages.Config{Mode: packages.NeedName | packages.NeedImports | packages.NeedDeps | packages.NeedFiles}, "./...")
	if err != nil {
		t.Fatalf("load packages: %v", err)
	}
	byPath := make(map[string]*packages.Package)
	for _, p := range pkgs {
		for _, e := range p.Errors {
			t.Errorf("%s: %v", p.PkgPath, e)
		}
		if rel := relative(p.PkgPath); rel != "" {
			byPath[rel] = p
		}
	}
	return byPath
}

// relative is a package's path below the module, empty for the module's root and for foreign packages.
func relative(path string) string {
	rel, ok := strings.CutPrefix(path, module+"/")
	if !ok {
		return ""
	}
	return rel
}

func below(path, part string) bool { return path == part || strings.HasPrefix(path, part+"/") }

// partOf is the longest key of allowed that the package lies below.
func partOf(path string) string {
	best := ""
	for part := range allowed {
		if below(path, part) && len(part) > len(best) {
			best = part
		}
	}
	return best
}

func TestImportsPointOneWay(t *testing.T) {
	for path, p := range load(t) {
		part := partOf(path)
		if part == "" {
			t.Errorf("%s belongs to no part: give it a line in allowed, with what it may import", path)
			continue
		}
		for imported := range p.Imports {
			rel := relative(imported)
			if rel == "" || below(rel, part) || slices.Contains(allowed[part], "*") {
				continue
			}
			if !slices.ContainsFunc(allowed[part], func(ok string) bool { return below(rel, ok) }) {
				t.Errorf("%s imports %s: %s may import only %v", path, rel, part, allowed[part])
			}
		}
	}
}

func TestForbiddenDependencies(t *testing.T) {
	pkgs := load(t)
	for _, rule := range forbidden {
		found := false
		for path, p := range pkgs {
			if !below(path, rule.part) {
				continue
			}
			found = true
			if chain := chainTo(p, rule.dependency, map[string]bool{}); chain != nil {
				t.Errorf("%s links %s (%s): %s", path, rule.dependency, strings.Join(chain, " -> "), rule.reason)
			}
		}
		if !found {
			t.Errorf("there is no %s any more: mend the table", rule.part)
		}
	}
}

// chainTo finds how p comes to link a dependency.
func chainTo(p *packages.Package, dependency string, seen map[string]bool) []string {
	if strings.HasPrefix(p.PkgPath, dependency) {
		return []string{p.PkgPath}
	}
	if seen[p.PkgPath] {
		return nil
	}
	seen[p.PkgPath] = true
	for _, imported := range p.Imports {
		if chain := chainTo(imported, dependency, seen); chain != nil {
			return append([]string{p.PkgPath}, chain...)
		}
	}
	return nil
}

// TestOnlyOnePackageLinksTheMessageServer keeps what is durable behind one door: everybody else knows
// the interfaces of package bus and their own.
func TestOnlyOnePackageLinksTheMessageServer(t *testing.T) {
	for path, p := range load(t) {
		for imported := range p.Imports {
			if strings.HasPrefix(imported, "github.com/nats-io/") && !below(path, "jetstream") {
				t.Errorf("%s imports %s: only jetstream may", path, imported)
			}
		}
	}
}

func TestStandardLibraryOnly(t *testing.T) {
	pkgs := load(t)
	for _, path := range standardOnly {
		p, ok := pkgs[path]
		if !ok {
			t.Errorf("there is no %s any more: mend the table", path)
			continue
		}
		for imported := range p.Imports {
			if strings.Contains(imported, ".") {
				t.Errorf("%s imports %s: it must do with the standard library", path, imported)
			}
		}
	}
}

func TestPureEngine(t *testing.T) {
	for _, path := range pure {
		eachFile(t, path, func(name string, file *ast.File) {
			for _, spec := range file.Imports {
				switch imported := strings.Trim(spec.Path.Value, `"`); imported {
				case "os", "net", "net/http", "sync", "context", "log/slog":
					t.Errorf("%s imports %s: no clock, goroutine or I/O in there", name, imported)
				}
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					t.Errorf("%s starts a goroutine", name)
				case *ast.SelectorExpr:
					if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && (n.Sel.Name == "Now" || n.Sel.Name == "Since" || n.Sel.Name == "After") {
						t.Errorf("%s reads the clock with time.%s", name, n.Sel.Name)
					}
				}
				return true
			})
		})
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for path := range load(t) {
		documented := false
		files := 0
		eachFile(t, path, func(_ string, file *ast.File) {
			files++
			documented = documented || (file.Doc != nil && len(file.Doc.Text()) > 60)
		})
		if files > 0 && !documented {
			t.Errorf("%s has no package comment that says what it is for", path)
		}
	}
}

// eachFile parses the package's files, tests and generated ones left out.
func eachFile(t *testing.T, path string, visit func(name string, file *ast.File)) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(filepath.FromSlash(path), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		if !ast.IsGenerated(file) {
			visit(name, file)
		}
	}
}

func TestNoReplaceInGoMod(t *testing.T) {
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "\nreplace ") {
		t.Error("go.mod has a replace: importers of the module would not see it")
	}
}
