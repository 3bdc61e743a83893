package process

import "strings"

// The directory in which rules look for a service account's files. Where
// /var/run is a link to /run, the kernel knows it by the second name.
const (
	serviceAccount         = "/var/run/secrets/kubernetes.io/serviceaccount/"
	serviceAccountResolved = "/run/secrets/kubernetes.io/serviceaccount/"
)

// filePath gives the path by which rules know a file that the kernel opened.
//
// The kubelet keeps a volume's files in a directory with the time in its name
// ("..2026_11_21_17_52_59.2458567487"), and links to it from where programs
// look: that directory is left out.
func filePath(resolved string) string {
	dir, file := split(resolved)
	above, dated := split(strings.TrimSuffix(dir, "/"))
	if isDated(dated) {
		resolved = above + file
	}
	if name, ok := strings.CutPrefix(resolved, serviceAccountResolved); ok {
		return serviceAccount + name
	}
	return resolved
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
