package diag

import "strings"

// Nearest returns the one of names that was probably meant by name, or "".
func Nearest(name string, names []string) string {
	const longest = 200
	if len(name) > longest {
		return ""
	}
	best, least := "", max(2, len(name)/5)+1
	for _, n := range names {
		if len(n) > longest {
			continue
		}
		if strings.EqualFold(n, name) {
			return n
		}
		if d := distance(name, n, least+1); d < least || d == least && best != "" && n < best {
			best, least = n, d
		}
	}
	return best
}

// NearestWord is Nearest for the short words of a language, where one letter
// makes another word: at most one may be wrong, two in long words.
func NearestWord(word string, words []string) string {
	best, least := "", 3
	for _, w := range words {
		limit := 2
		if len(w) > 5 {
			limit = 3
		}
		if d := distance(strings.ToLower(word), w, limit); d < min(limit, least) && len(word) > 1 {
			best, least = w, d
		}
	}
	return best
}

// distance counts the letters to insert, delete, replace or exchange with their
// neighbour to make a from b, giving up at limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	before := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	next := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row, next = row, next, before
	}
	return min(row[len(b)], limit)
}
