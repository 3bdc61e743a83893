package ruleload

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// words makes up the texts of one rule.
type words struct {
	*rand.Rand
	// block is how often the shape has been repeated before this rule. It is part
	// of every word that is not common.
	block int
}

// Pools of common words, which are the same for all rules, and in events as well.

func programs() []string {
	return []string{
		"curl", "wget", "nc", "ncat", "socat", "openssl", "kubectl", "crictl", "ctr", "nsenter", "chroot", "unshare", "mount",
		"python3", "perl", "ruby", "node", "php", "lua", "awk", "tar", "dd", "xxd", "base64", "gdb", "strace", "insmod", "chattr",
	}
}

func parents() []string {
	return []string{"runc", "containerd-shim", "dockerd", "tini", "dumb-init", "s6-svscan", "kubelet", "supervisord"}
}

func directories() []string {
	return []string{"/tmp/", "/dev/shm/", "/var/tmp/", "/etc/", "/root/", "/proc/", "/sys/fs/", "/var/run/", "/usr/local/bin/", "/home/", "/opt/", "/var/log/"}
}

func resources() []string {
	return []string{
		"secrets", "serviceaccounts", "roles", "clusterroles", "rolebindings", "clusterrolebindings", "certificatesigningrequests",
		"daemonsets", "cronjobs", "ingresses", "networkpolicies", "mutatingwebhookconfigurations", "validatingwebhookconfigurations",
	}
}

// own is a word that hardly any other rule has.
func (w words) own() string {
	syllables := []string{"ka", "lo", "ri", "ten", "mos", "ul", "ver", "dan", "pi", "gra", "sel", "tok", "ban", "fir", "ost", "hel", "ma", "nu", "quo", "zed"}
	var b strings.Builder
	for range 2 + w.IntN(3) {
		b.WriteString(syllables[w.IntN(len(syllables))])
	}
	if w.block > 0 {
		b.WriteString(strconv.Itoa(w.block))
	}
	return b.String()
}

// list returns n texts: some common ones, and then the rule's own.
func (w words) list(n int, pool []string) []string {
	out := make([]string, 0, n)
	for _, i := range w.Perm(len(pool))[:min(len(pool), (n+1)/2)] {
		out = append(out, pool[i])
	}
	for len(out) < n {
		out = append(out, w.own())
	}
	return out
}

// shape is what a pattern looks like.
type shape int

const (
	contains shape = iota // *x*
	prefix                // x*
	exact                 // x
	inner                 // x*y
	suffix                // *x
)

// pattern makes up a pattern for paths or for arguments.
func (w words) pattern(s shape, paths bool) string {
	text := w.own()
	if paths {
		text = directories()[w.IntN(len(directories()))] + text
	} else {
		text = fmt.Sprintf([]string{"-%s", "--%s=", "%s://", "/bin/%s", "%s", "|%s", "%s -e"}[w.IntN(7)], text)
	}
	switch s {
	case contains:
		return "*" + text + "*"
	case prefix:
		return text + "*"
	case inner:
		return text + "*" + w.own()
	case suffix:
		return "*" + text
	default:
		return text
	}
}

// quoted writes texts as a list in a query.
func quoted(texts []string) string {
	quoted := make([]string, len(texts))
	for i, t := range texts {
		quoted[i] = strconv.Quote(t)
	}
	return "(" + strings.Join(quoted, ", ") + ")"
}
