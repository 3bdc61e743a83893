package redact

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// Mask stands where a secret was.
const Mask = "[redacted]"

// named is what names of secrets have in them.
const named = `(?:pass(?:word|wd|phrase)?|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credentials?|auth[-_]?key)`

// pattern finds a secret: all of it, or its last group.
type pattern struct {
	expression *regexp.Regexp
	// hints are what a text has one of, in lower case, in which the expression finds something; none if that is not
	// known. To look for them takes a hundredth of the time.
	hints []string
}

// Pattern is one of Default's.
type Pattern struct {
	Expression string
	// Hints are texts in lower case, one of which is in whatever the expression finds.
	Hints []string
}

// Redactor takes secrets out. It may be used concurrently.
type Redactor struct {
	patterns []pattern
	// flag is a flag whose next argument is a secret, assigned one that has it behind a sign.
	flag *regexp.Regexp
}

// New makes a Redactor of regular expressions. Of each match the last group is masked, or all of it if there is
// none.
func New(patterns ...Pattern) (*Redactor, error) {
	r := &Redactor{flag: regexp.MustCompile(`(?i)^--?(?:[\w.-]*[-_.])?` + named + `$`)}
	for _, p := range patterns {
		expression, err := regexp.Compile(p.Expression)
		if err != nil {
			return nil, err
		}
		r.patterns = append(r.patterns, pattern{expression, p.Hints})
	}
	return r, nil
}

// Default finds what the package's documentation lists.
func Default() *Redactor {
	r, err := New(Patterns()...)
	if err != nil {
		panic("redact: " + err.Error()) // a test compiles them
	}
	return r
}

// Patterns are those of Default.
func Patterns() []Pattern {
	const value = `("[^"]*"|'[^']*'|[^\s'"&;|]+)`
	names := []string{"pass", "pwd", "secret", "token", "key", "credential"}
	return []Pattern{
		{`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----(.*?)(?:-----END|$)`, []string{"private key-----"}},
		{`(?i)\b(?:proxy-)?authorization\s*[:=]\s*(?:(?:bearer|basic|token|negotiate|digest)\s+)?([^\s'"]+)`, []string{"authorization"}},
		{`(?i)\bbearer\s+([\w.~+/=-]{8,})`, []string{"bearer"}},
		{`(?i)\b(?:cookie|x-api-key|x-auth-token|x-vault-token|private-token)\s*:\s*([^'"]+)`, []string{"cookie", "x-api-key", "x-auth-token", "x-vault-token", "private-token"}},
		{`(?i)\b[a-z][a-z0-9+.-]*://[^\s:/@'"]*:([^\s/'"]*)@`, []string{"://"}},
		{`(?i)[?&](?:[\w.-]*` + named + `|sig|signature|x-amz-signature|x-amz-credential|x-amz-security-token)=([^&\s'"]+)`, append([]string{"sig", "x-amz-"}, names...)},
		{`(?i)(?:^|[\s'"])--?(?:[\w.-]*[-_.])?` + named + `(?:\s*=\s*|\s+)` + value, names},
		{`(?i)(?:^|[^\w-])\w*` + named + `\w*\s*[=:]\s*` + value, names},
		{`\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*`, []string{"eyj"}},
		{`\b(?:AKIA|ASIA)[0-9A-Z]{16}\b`, []string{"akia", "asia"}},
		{`\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abeoprs]-[\w-]{10,})`, []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox"}},
	}
}

// Args returns the arguments of a command without secrets. The given ones stay as they are, and are returned if there are
// none in them.
func (r *Redactor) Args(args []string) []string {
	out, shared := args, true
	for i, arg := range args {
		clean := r.arg(args, i, arg)
		if clean == arg {
			continue
		}
		if shared {
			out, shared = slices.Clone(args), false
		}
		out[i] = clean
	}
	return out
}

func (r *Redactor) arg(args []string, i int, arg string) string {
	if i == 0 {
		return r.Text(arg)
	}
	before := args[i-1]
	switch {
	case r.flag.MatchString(before) && !strings.HasPrefix(arg, "-"):
		return Mask
	case before == "-u" || before == "--user" || before == "--proxy-user":
		if user, _, ok := strings.Cut(arg, ":"); ok {
			return user + ":" + Mask
		}
	case takesP(args[0]) && strings.HasPrefix(arg, "-p") && len(arg) > 2:
		return "-p" + Mask
	case path.Base(args[0]) == "sshpass" && before == "-p":
		return Mask
	}
	return r.Text(arg)
}

// takesP are programs whose -p is followed by a password at once.
func takesP(program string) bool {
	switch path.Base(program) {
	case "mysql", "mysqldump", "mysqladmin", "mariadb", "mariadb-dump", "sshpass":
		return true
	default:
		return false
	}
}

// Text returns a text without secrets.
func (r *Redactor) Text(text string) string {
	lower := strings.ToLower(text)
	for _, p := range r.patterns {
		if p.mayFind(lower) {
			text = p.mask(text)
		}
	}
	return text
}

func (p pattern) mayFind(lower string) bool {
	return len(p.hints) == 0 || slices.ContainsFunc(p.hints, func(hint string) bool { return strings.Contains(lower, hint) })
}

func (p pattern) mask(text string) string {
	matches := p.expression.FindAllStringSubmatchIndex(text, -1)
	if matches == nil {
		return text
	}
	var out strings.Builder
	at := 0
	for _, m := range matches {
		from, to := m[len(m)-2], m[len(m)-1]
		if from < 0 || text[from:to] == Mask {
			continue
		}
		out.WriteString(text[at:from])
		out.WriteString(Mask)
		at = to
	}
	out.WriteString(text[at:])
	return out.String()
}
