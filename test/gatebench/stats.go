package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// quantile is the value that q of 100 are not above. It sorts its argument.
func quantile[T interface{ ~int64 | ~float64 }](values []T, q int) T {
	slices.Sort(values)
	return values[min(len(values)*q/100, len(values)-1)]
}

func micros(d time.Duration) string { return fmt.Sprintf("%.0f", float64(d)/1e3) }

func millis(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/1e6) }

// histogram shows how values spread over classes of the given upper bounds, in lines of text.
func histogram(values []time.Duration, bounds ...time.Duration) string {
	counts := make([]int, len(bounds)+1)
	for _, v := range values {
		i, exact := slices.BinarySearch(bounds, v)
		_ = exact // a bound belongs to its class
		counts[i]++
	}
	var b strings.Builder
	for i, n := range counts {
		label := "more"
		if i < len(bounds) {
			label = "to " + bounds[i].String()
		}
		fmt.Fprintf(&b, "  %-9s %3d %s\n", label, n, strings.Repeat("#", n))
	}
	return b.String()
}
