package ruleload

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// alternativesOf is how many alternatives a rule with or has at least.
const alternativesOf = 5

// Query returns the text of one rule's query.
func Query(number int) string {
	block, place := number/Block, number%Block
	source := rand.New(rand.NewPCG(uint64(number), Block)) //nolint:gosec // the same rules every time, and nothing secret
	w := writer{words: words{source, block}, traits: traitsOf(place), place: place}
	w.lists, w.patterns = before(place)
	switch w.kind {
	case telemetryThenAudit:
		return w.joined()
	case telemetrySequence:
		return w.sequence()
	case auditSingle:
		return w.filter("any", w.audit(true))
	case fileSingle:
		return w.filter("file", w.file(true))
	default:
		return w.filter("process", w.process(true))
	}
}

// before counts the lists and single patterns of the rules before a place.
func before(place int) (lists, patterns int) {
	for p := range place {
		t := traitsOf(p)
		for _, has := range []bool{t.listed, t.folded, t.colon} {
			if has {
				patterns += sizeOf(lists)
				lists++
			}
		}
		if t.single {
			patterns++
		}
	}
	return lists, patterns
}

// sizeOf is how many patterns the list of that number has. Large ones are spread.
func sizeOf(list int) int { return sizes()[list*20%len(sizes())] }

// writer writes one query.
type writer struct {
	words
	traits
	place int
	// lists and patterns are how many of them the block has had so far.
	lists, patterns int
}

func (w *writer) filter(category string, conjuncts []string) string {
	separator := " and\n  "
	if w.lineComment {
		separator = " and // and\n  "
	}
	text := strings.Join(conjuncts, separator)
	if w.blockComment {
		text = "/* what it is about */ " + text
	}
	return category + " where " + text
}

func (w *writer) joined() string {
	first, conjuncts := "process", w.process
	if w.ordinal == 0 {
		first, conjuncts = "file", w.file
	}
	return fmt.Sprintf("sequence with maxspan=%ds\n  [%s] by orchestrator.resource.name\n  [%s] by `kubernetes.audit.user.extra.authentication.kubernetes.io/pod-name`",
		[]int{60, 1, 1, 5}[w.ordinal], w.filter(first, conjuncts(true)), w.filter("any", w.audit(false)))
}

func (w *writer) sequence() string {
	head := fmt.Sprintf("sequence by container.id, %s with maxspan=%s\n",
		[]string{"process.entity_id", "process.parent.entity_id", "user.id"}[w.ordinal%3], []string{"1s", "3s", "10s", "30s", "1m", "5m"}[w.ordinal])
	last, conjuncts := "process", w.process
	if w.ordinal >= 3 {
		last, conjuncts = "file", w.file
	}
	runs := ""
	if w.runs {
		runs = " with runs=3"
	}
	return head + fmt.Sprintf("  [%s]\n  [%s]%s", w.filter("process", w.process(true)), w.filter(last, conjuncts(false)), runs)
}

// process returns what a process event must be. The main stage of a rule has
// what tells the rule apart from others.
func (w *writer) process(main bool) []string {
	c := []string{`host.os.type == "linux"`, `event.type == "start"`, w.oneOf("event.action", w.actions("exec", "exec_event"))}
	c = append(c, w.container(main))
	if w.isTrue {
		c = append(c, "process.interactive == true")
	}
	if !main {
		return append(c, w.oneOf("process.name", w.list(w.listSize(), programs())))
	}
	alternatives := []string{w.oneOf("process.name", w.list(w.listSize(), programs()))}
	if w.listed {
		alternatives = append(alternatives, w.patternsOf([]string{"process.args", "process.command_line", "process.executable"}[w.place%3], "like"))
	}
	if w.folded {
		alternatives = append(alternatives, w.patternsOf("process.args", "like~"))
	}
	if w.colon {
		alternatives = append(alternatives, w.patternsOf("process.command_line", ":"))
	}
	return w.finish(c, alternatives, "process.parent.name", "process.parent.executable")
}

func (w *writer) file(main bool) []string {
	c := []string{`host.os.type == "linux"`, w.oneOf("event.action", w.actions("open", "creation", "modification")), w.container(main)}
	if !main {
		return append(c, w.oneOf("file.path", w.paths(w.listSize())))
	}
	if w.kind == fileSingle && w.ordinal < 3 {
		c = append(c, w.oneOf("event.type", []string{"change"}))
	}
	alternatives := []string{w.oneOf("file.path", w.paths(w.listSize()))}
	if w.listed {
		alternatives = append(alternatives, w.patternsOf("file.path", "like"))
	}
	if w.folded {
		alternatives = append(alternatives, w.patternsOf("file.name", "like~"))
	}
	return w.finish(c, alternatives, "process.name", "process.executable")
}

// audit returns what a request must be.
func (w *writer) audit(main bool) []string {
	dataset := "event.dataset"
	if w.data {
		dataset = "data_stream.dataset"
	}
	c := []string{
		w.oneOf(dataset, []string{"kubernetes.audit_logs"}),
		w.oneOf("kubernetes.audit.stage", []string{"ResponseComplete", "ResponseStarted"}),
	}
	if !main {
		return append(c, w.oneOf("kubernetes.audit.verb", []string{"get", "list", "create"}))
	}
	if w.backquoted {
		c = append(c, w.oneOf("`kubernetes.audit.annotations.authorization_k8s_io/decision`", []string{"allow"}))
	}
	c = append(c, w.oneOf("kubernetes.audit.verb", [][]string{{"create", "update", "patch"}, {"get", "list", "watch"}, {"delete", "deletecollection"}}[w.place%3]))
	if w.single {
		w.patterns++
		c = append(c, fmt.Sprintf("kubernetes.audit.requestURI like %q", w.pattern(shapeOf(w.patterns-1), true)))
	}
	alternatives := []string{w.oneOf("kubernetes.audit.objectRef.resource", w.list(w.listSize(), resources()))}
	if w.listed {
		alternatives = append(alternatives, w.patternsOf("kubernetes.audit.requestURI", "like"))
	}
	if w.folded {
		alternatives = append(alternatives, w.patternsOf("kubernetes.audit.objectRef.name", "like~"))
	}
	if w.ordinal%4 == 0 {
		alternatives = append(alternatives, fmt.Sprintf("kubernetes.audit.requestObject.spec.containers.image == %q", w.own()))
	}
	return w.finish(c, alternatives, "kubernetes.audit.user.username", "kubernetes.audit.objectRef.namespace")
}

// container asks whether the event happened in one.
func (w *writer) container(main bool) string {
	if w.star && main {
		return `container.id like "*"`
	}
	return `process.entry_leader.entry_meta.type == "container"`
}

// finish puts a rule's alternatives, exclusions and rarer constructs together.
func (w *writer) finish(c, alternatives []string, excluded, excludedToo string) []string {
	if w.or {
		least := alternativesOf
		if some(w.place, 3, 17) {
			least++
		}
		for len(alternatives) < least {
			alternatives = append(alternatives, w.oneOf(excludedToo, []string{w.own()}))
		}
		c = append(c, "("+strings.Join(alternatives, " or\n    ")+")")
	} else {
		c = append(c, alternatives...)
	}
	if w.not {
		c = append(c, "not "+w.oneOf(excluded, parents()[:5+w.place%3]), "not "+w.oneOf(excludedToo, []string{"/usr/bin/" + w.own()}),
			"not "+w.oneOf("user.id", []string{"65532"}))
	}
	switch {
	case w.null:
		c = append(c, fmt.Sprintf("%s != null", excluded))
	case w.notEqual:
		c = append(c, fmt.Sprintf("%s != %q", excluded, w.own()))
	}
	if w.optional {
		c = append(c, fmt.Sprintf("?process.parent.args == %q", w.own()))
	}
	if w.regex {
		c = append(c, fmt.Sprintf(`process.args regex """/(usr/)?bin/%s-[0-9]+"""`, w.own()))
	}
	return c
}

// oneOf asks for one of some texts, with in if the rule has any.
func (w *writer) oneOf(field string, texts []string) string {
	switch {
	case w.in && (len(texts) > 1 || !w.equal):
		return field + " in " + quoted(texts)
	case w.equal:
		return fmt.Sprintf("%s == %q", field, texts[0])
	default:
		return field + " in " + quoted(texts)
	}
}

// actions are all of some, or the first.
func (w *writer) actions(all ...string) []string {
	if w.place%4 == 0 {
		return all
	}
	return all[:1]
}

// listSize is how many texts the next in has: the median is 6.
func (w *writer) listSize() int {
	if w.place == 31 {
		return 58
	}
	return []int{3, 5, 6, 6, 6, 6, 7, 9, 12, 16}[w.IntN(10)]
}

func (w *writer) paths(n int) []string {
	paths := make([]string, n)
	for i := range paths {
		paths[i] = directories()[w.IntN(len(directories()))] + w.own()
	}
	return paths
}

// patternsOf asks for one of the block's next list of patterns.
func (w *writer) patternsOf(field, operator string) string {
	list := make([]string, sizeOf(w.lists))
	w.lists++
	paths := strings.HasPrefix(field, "file.") || strings.HasSuffix(field, "URI") || strings.HasSuffix(field, "executable")
	for i := range list {
		list[i] = w.pattern(shapeOf(w.patterns), paths)
		w.patterns++
	}
	return fmt.Sprintf("%s %s %s", field, operator, quoted(list))
}
