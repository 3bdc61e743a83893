package cost

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// estimate is a median with the interval that holds it with 95% confidence.
type estimate struct {
	median, low, high float64
	n                 int
}

func newEstimate(samples []float64) estimate {
	s := slices.Sorted(slices.Values(samples))
	n := len(s)
	if n == 0 {
		return estimate{median: math.NaN(), low: math.NaN(), high: math.NaN()}
	}
	// The ranks of a binomial's 2.5% and 97.5% quantiles, by its normal approximation.
	margin := 1.96 * math.Sqrt(float64(n)) / 2
	low := max(0, int(math.Floor(float64(n)/2-margin)))
	high := min(n-1, int(math.Ceil(float64(n)/2+margin)))
	median := s[n/2]
	if n%2 == 0 {
		median = (s[n/2-1] + s[n/2]) / 2
	}
	return estimate{median: median, low: s[low], high: s[high], n: n}
}

func (e estimate) format(unit string) string {
	return fmt.Sprintf("%s%s [%s, %s]", number(e.median), unit, number(e.low), number(e.high))
}

func number(f float64) string {
	if math.Abs(f) >= 100 {
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprintf("%.3g", f)
}

func TestEstimate(t *testing.T) {
	samples := make([]float64, 0, 101)
	for i := range 101 {
		samples = append(samples, float64((i*37)%101))
	}
	e := newEstimate(samples)
	if e.median != 50 || e.low != 40 || e.high != 61 {
		t.Errorf("of 0 … 100 the estimate is %+v", e)
	}
	if e := newEstimate([]float64{3, 1}); e.median != 2 || e.low != 1 || e.high != 3 {
		t.Errorf("of two samples the estimate is %+v", e)
	}
}
