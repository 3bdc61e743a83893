package pattern

import (
	"unicode"
	"unicode/utf8"
)

// foldRune returns the character that stands for all that fold to the same:
// the smallest of them, but the lower case letter within ASCII.
func foldRune(r rune) rune {
	if r < utf8.RuneSelf {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	if least < utf8.RuneSelf { // K, ſ
		return foldRune(least)
	}
	return least
}

func foldByte(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// appendFold appends text with every character folded. Invalid bytes are kept.
func appendFold(dst []byte, text string) []byte {
	for i := 0; i < len(text); {
		if c := text[i]; c < utf8.RuneSelf {
			dst = append(dst, foldByte(c))
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, text[i])
		} else {
			dst = utf8.AppendRune(dst, foldRune(r))
		}
		i += n
	}
	return dst
}

// foldPrefix returns how many bytes of text its beginning has that equals
// prefix but for case, or -1 if it begins otherwise. Case changes lengths.
func foldPrefix(text, prefix string) int {
	i, j := 0, 0
	for j < len(prefix) {
		if i == len(text) {
			return -1
		}
		c, p := text[i], prefix[j]
		n, m := 1, 1
		if c < utf8.RuneSelf && p < utf8.RuneSelf {
			if c != p && foldByte(c) != foldByte(p) {
				return -1
			}
		} else if n, m = foldWide(text[i:], prefix[j:]); n == 0 {
			return -1
		}
		i += n
		j += m
	}
	return i
}

// foldWide compares the first characters of a and b and returns their lengths,
// 0 if they differ.
func foldWide(a, b string) (n, m int) {
	r, n := utf8.DecodeRuneInString(a)
	q, m := utf8.DecodeRuneInString(b)
	if r == utf8.RuneError && n == 1 || q == utf8.RuneError && m == 1 {
		if n != 1 || m != 1 || a[0] != b[0] {
			return 0, 0
		}
		return n, m
	}
	if foldRune(r) != foldRune(q) {
		return 0, 0
	}
	return n, m
}

// foldIndex returns where text first contains part but for case, as start and
// end in text, or -1.
func foldIndex(text, part string) (start, end int) {
	if part == "" {
		return 0, 0
	}
	first := foldByte(part[0])
	for i := 0; i < len(text); {
		c := text[i]
		if c >= utf8.RuneSelf || first >= utf8.RuneSelf || foldByte(c) == first {
			if n := foldPrefix(text[i:], part); n >= 0 {
				return i, i + n
			}
		}
		i += runeLen(text[i:])
	}
	return -1, -1
}

// foldSuffix reports whether text ends with suffix but for case.
func foldSuffix(text, suffix string) bool {
	start := backwards(text, utf8.RuneCountInString(suffix))
	return start >= 0 && foldPrefix(text[start:], suffix) == len(text)-start
}

// backwards returns where the last n characters of a text begin, -1 if it has fewer.
func backwards(text string, n int) int {
	end := len(text)
	for ; n > 0; n-- {
		if end == 0 {
			return -1
		}
		_, size := utf8.DecodeLastRuneInString(text[:end])
		end -= size
	}
	return end
}

// runeLen returns how many bytes the first character of a text has.
func runeLen(text string) int {
	if text[0] < utf8.RuneSelf {
		return 1
	}
	_, n := utf8.DecodeRuneInString(text)
	return n
}
