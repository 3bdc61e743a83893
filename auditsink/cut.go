package auditsink

import (
	"maps"
	"slices"
	"strings"
)

// cut shortens what a client can make arbitrarily long, and tells what it
// shortened. An event is not refused for its length: whoever wants to hide a
// request would only have to add a few hundred X-Forwarded-For addresses to it.
func (w *wireEvent) cut() []Cut {
	var cuts []Cut
	note := func(field string, had int) {
		if had > MaxEntries {
			cuts = append(cuts, Cut{Field: field, Had: had})
		}
	}
	note("sourceIPs", len(w.SourceIPs))
	w.SourceIPs = cutIPs(w.SourceIPs)
	note("annotations", len(w.Annotations))
	w.Annotations = cutMap(w.Annotations)
	w.User.cut("user", note)
	if w.ImpersonatedUser != nil {
		w.ImpersonatedUser.cut("impersonatedUser", note)
	}
	return cuts
}

func (u *wireUser) cut(field string, note func(string, int)) {
	note(field+".groups", len(u.Groups))
	u.Groups = cutSlice(u.Groups)
	note(field+".extra", len(u.Extra))
	u.Extra = cutMap(u.Extra)
	for key, values := range u.Extra {
		if len(values) > MaxEntries {
			note(field+".extra values", len(values))
			u.Extra[key] = cutSlice(values)
		}
	}
}

// cutSlice copies what it keeps, so that the rest can be freed.
func cutSlice(s []string) []string {
	if len(s) <= MaxEntries {
		return s
	}
	return slices.Clone(s[:MaxEntries])
}

// cutIPs keeps the last address whatever else goes: it is the one that the
// client cannot choose.
func cutIPs(ips []string) []string {
	if len(ips) <= MaxEntries {
		return ips
	}
	return append(slices.Clone(ips[:MaxEntries-1]), ips[len(ips)-1])
}

// cutMap keeps Kubernetes' own keys first (identity hangs on the extras among
// them), then by alphabet, so that the same event is always cut the same way.
func cutMap[V any](m map[string]V) map[string]V {
	if len(m) <= MaxEntries {
		return m
	}
	keys := slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		if ka, kb := isKubernetesKey(a), isKubernetesKey(b); ka != kb {
			if ka {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	out := make(map[string]V, MaxEntries)
	for _, key := range keys[:MaxEntries] {
		out[key] = m[key]
	}
	return out
}

func isKubernetesKey(key string) bool {
	domain, _, _ := strings.Cut(key, "/")
	return strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io")
}
