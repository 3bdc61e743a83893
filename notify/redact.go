package notify

import (
	"net/url"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"
)

// redacted stands where a secret was.
const redacted = "[redacted]"

// maxSearched bounds how much of one text is searched; the rest is cut off. It is more than
// what a document shows of a text, so that no secret is shown by half.
const maxSearched = 2 * maxText

// secretName matches names of flags, variables and parameters that hold secrets.
const secretName = `[a-z0-9_.-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential)[a-z0-9_.-]*` //nolint:gosec // it matches the names of secrets and is none

// redactor removes secrets from texts. It is immutable.
type redactor struct {
	patterns []pattern
	flag     *regexp.Regexp
	harmless *regexp.Regexp
	userPass *regexp.Regexp
	ids      *regexp.Regexp
}

// pattern is a secret with what stands before it. The group "secret" is replaced.
type pattern struct {
	re     *regexp.Regexp
	secret int
}

func newRedactor() *redactor {
	r := &redactor{
		flag: regexp.MustCompile(`(?i)^--?` + secretName + `$`),
		// The value of --token-file is a path, that of --token-ttl a time.
		harmless: regexp.MustCompile(`(?i)(?:file|path|dir|name|type|ttl|id|url|length|count)$`),
		userPass: regexp.MustCompile(`^([^:\s]+):\S+$`),
		ids:      regexp.MustCompile(`^\d+:\d+$`),
	}
	for _, expr := range []string{
		`(?s)(?P<secret>-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$))`,
		`(?i)\b(?:proxy-)?authorization["']?\s*[:=]\s*["']?(?:(?:bearer|basic|token|digest|negotiate|apikey)\s+)?(?P<secret>[^"'\r\n]+)`,
		`(?i)\b(?:set-)?cookie\s*:\s*(?P<secret>[^"'\r\n]+)`,
		`(?i)\b(?:x-[a-z-]*(?:token|key|secret|auth)|private-token)\s*:\s*(?P<secret>[^"'\r\n]+)`,
		`(?i)\bbearer\s+(?P<secret>[a-z0-9._~+/=-]{8,})`,
		`(?i)\bbasic\s+(?P<secret>[a-z0-9+/]{16,}={0,2})`,
		`\b(?P<secret>eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)?)`,
		`(?i)\b[a-z][a-z0-9+.-]*://[^\s/:@"']*:(?P<secret>[^\s/"']+)@`,
		`(?i)\b[a-z][a-z0-9+.-]*://(?P<secret>[^\s/:@"']{20,})@`,
		`\b(?P<secret>gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|xox[abeprs]-[A-Za-z0-9-]{10,}|hvs\.[A-Za-z0-9_-]{20,}|npm_[A-Za-z0-9]{30,}|dckr_pat_[A-Za-z0-9_-]{20,}|[sr]k_live_[A-Za-z0-9]{16,})`,
		`(?i)` + secretName + `["']?\s*[=:]\s*["']?(?P<secret>[^\s"'&;,]+)`,
	} {
		re := regexp.MustCompile(expr)
		r.patterns = append(r.patterns, pattern{re, re.SubexpIndex("secret")})
	}
	return r
}

// text removes the secrets from a text.
func (r *redactor) text(s string) string {
	s = cut(s, maxSearched)
	for _, p := range r.patterns {
		s = p.replace(s)
	}
	return s
}

func (p pattern) replace(s string) string {
	matches := p.re.FindAllStringSubmatchIndex(s, -1)
	if matches == nil {
		return s
	}
	var b strings.Builder
	last := 0
	for _, m := range matches {
		from, to := m[2*p.secret], m[2*p.secret+1]
		if value := s[from:to]; expansion(value) || strings.HasPrefix(value, redacted) {
			continue
		}
		b.WriteString(s[last:from])
		b.WriteString(redacted)
		last = to
	}
	b.WriteString(s[last:])
	return b.String()
}

// expansion reports whether a shell would put something else in the value's place.
func expansion(value string) bool {
	return strings.HasPrefix(value, "$") || strings.HasPrefix(value, "`")
}

// args removes the secrets from a command's arguments: those inside of one, and those
// that the argument before announces.
func (r *redactor) args(args []string) []string {
	out := make([]string, len(args))
	program := ""
	if len(args) > 0 {
		program = path.Base(args[0])
	}
	before := ""
	for i, arg := range args {
		switch {
		case r.announces(program, before, arg):
			out[i] = redacted
		case r.isUserFlag(before) && r.userPass.MatchString(arg) && !r.ids.MatchString(arg):
			out[i] = r.userPass.ReplaceAllString(arg, "$1:"+redacted)
		default:
			out[i] = r.text(joined(program, arg))
		}
		before = arg
	}
	return out
}

// announces reports whether flag says that the next argument is a secret.
func (r *redactor) announces(program, flag, next string) bool {
	if flag == "" || next == "" || expansion(next) {
		return false
	}
	if flag == secretFlag(program) {
		return true
	}
	return r.flag.MatchString(flag) && !r.harmless.MatchString(flag) && !strings.HasPrefix(next, "-")
}

func (r *redactor) isUserFlag(flag string) bool {
	return flag == "-u" || flag == "--user" || flag == "--proxy-user" || flag == "-U"
}

// secretFlag is the short flag that takes a secret, of programs known for it.
func secretFlag(program string) string {
	switch program {
	case "sshpass", "docker", "podman", "nerdctl":
		return "-p"
	case "redis-cli":
		return "-a"
	default:
		return ""
	}
}

// joined removes a secret that stands directly behind its short flag.
func joined(program, arg string) string {
	switch {
	case program == "sshpass" || program == "mysql" || program == "mysqldump" || program == "mariadb" || program == "mysqladmin":
		if strings.HasPrefix(arg, "-p") && len(arg) > 2 && !expansion(arg[2:]) {
			return "-p" + redacted
		}
	case program == "curl" && strings.HasPrefix(arg, "-u") && strings.Contains(arg, ":"):
		user, _, _ := strings.Cut(arg, ":")
		return user + ":" + redacted
	}
	return arg
}

// uri removes the secrets from a request's URI. The arguments of an exec are in its
// query, one parameter "command" each, and are treated as one command.
func (r *redactor) uri(uri string) string {
	uri = cut(uri, maxSearched)
	head, query, found := strings.Cut(uri, "?")
	head = r.text(head)
	if !found {
		return head
	}
	pairs := strings.Split(query, "&")
	command := r.args(commandOf(pairs))
	for i, pair := range pairs {
		key, value, ok := unescapePair(pair)
		if !ok {
			pairs[i] = r.text(pair)
			continue
		}
		clean := value
		if key == "command" {
			clean, command = command[0], command[1:]
		} else if named := r.text(key + "=" + value); named != key+"="+value {
			clean = strings.TrimPrefix(named, key+"=")
		}
		if clean != value {
			pairs[i] = url.QueryEscape(key) + "=" + url.QueryEscape(clean)
		}
	}
	return head + "?" + strings.Join(pairs, "&")
}

func commandOf(pairs []string) (command []string) {
	for _, pair := range pairs {
		if key, value, ok := unescapePair(pair); ok && key == "command" {
			command = append(command, value)
		}
	}
	return command
}

func unescapePair(pair string) (key, value string, ok bool) {
	key, value, _ = strings.Cut(pair, "=")
	key, errKey := url.QueryUnescape(key)
	value, errValue := url.QueryUnescape(value)
	return key, value, errKey == nil && errValue == nil
}

// cut shortens s to at most limit bytes, whole characters.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
