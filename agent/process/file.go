package process

import (
	"strings"

	"github.com/portcullis-dev/portcullis/agent/bpf"
)

// The directory in which rules look for tokens of all kinds. Where /var/run is a
// link to /run, the kernel knows it by the second name; a manifest may use either.
const (
	knownPlace    = "/var/run/secrets/"
	resolvedPlace = "/run/secrets/"
	// account is the service account's directory in it.
	account = "/kubernetes.io/serviceaccount/"
)

// filePath gives the path by which rules know a file that the kernel opened:
// where its volume is mounted for the pod, as far as that can be told, whatever
// mount it was opened through.
//
// The kubelet keeps a volume's files in a directory with the time in its name
// ("..2026_11_21_17_52_59.2458567487"), and links to it from where programs
// look: that directory is left out.
func filePath(r *bpf.Record) string {
	known := r.KnownFile
	if known == "" {
		known = r.File
	}
	dir, file := split(known)
	above, dated := split(strings.TrimSuffix(dir, "/"))
	if isDated(dated) {
		known = above + file
	}
	if name, ok := strings.CutPrefix(known, resolvedPlace); ok {
		return knownPlace + name
	}
	// Under a root of its own, such as one of a container in the container.
	if at := strings.LastIndex(known, account); r.AccountFile && at >= 0 {
		return strings.TrimSuffix(knownPlace, "/") + known[at:]
	}
	return known
}

// split cuts a path behind its last slash.
func split(p string) (dir, file string) {
	at := strings.LastIndexByte(p, '/') + 1
	return p[:at], p[at:]
}

// isDated says whether a directory has the form "..YYYY_MM_DD_hh_mm_ss.<number>".
func isDated(name string) bool {
	const form = "..0000_00_00_00_00_00."
	if len(name) <= len(form) {
		return false
	}
	for i := range len(form) {
		if form[i] == '0' {
			if name[i] < '0' || name[i] > '9' {
				return false
			}
		} else if name[i] != form[i] {
			return false
		}
	}
	return true
}
