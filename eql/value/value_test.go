package value_test

import (
	"math"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-dev/portcullis/eql/value"
)

func TestKinds(t *testing.T) {
	for _, tc := range []struct {
		v    value.Value
		kind value.Kind
		n    int
		text string
	}{
		{value.Value{}, value.KindMissing, 0, "missing"},
		{value.Missing(), value.KindMissing, 0, "missing"},
		{value.String(""), value.KindString, 1, `""`},
		{value.String("a\n"), value.KindString, 1, `"a\n"`},
		{value.Strings(nil), value.KindMissing, 0, "missing"},
		{value.Strings([]string{}), value.KindMissing, 0, "missing"},
		{value.Strings([]string{"a"}), value.KindStrings, 1, `["a"]`},
		{value.Strings([]string{"a", ""}), value.KindStrings, 2, `["a", ""]`},
		{value.Int(-5), value.KindInt, 1, "-5"},
		{value.Float(2.5), value.KindFloat, 1, "2.5"},
		{value.Float(math.NaN()), value.KindMissing, 0, "missing"},
		{value.Bool(true), value.KindBool, 1, "true"},
		{value.Bool(false), value.KindBool, 1, "false"},
		{value.Ref("web", "uid:1"), value.KindString, 1, `"web"→"uid:1"`},
		{value.Ref("", "uid:1"), value.KindString, 1, `""→"uid:1"`},
		{value.Ref("web", ""), value.KindString, 1, `"web"→""`},
		{value.Ref("", ""), value.KindMissing, 0, "missing"},
	} {
		if tc.v.Kind() != tc.kind || tc.v.Len() != tc.n || tc.v.IsMissing() != (tc.n == 0) {
			t.Errorf("%s: kind %d with %d values, want %d with %d", tc.v, tc.v.Kind(), tc.v.Len(), tc.kind, tc.n)
		}
		if got := tc.v.String(); got != tc.text {
			t.Errorf("prints as %s, want %s", got, tc.text)
		}
	}
}

func TestContents(t *testing.T) {
	if got := value.String("abc").Text(); got != "abc" {
		t.Errorf("text is %q", got)
	}
	if diff := cmp.Diff([]string{"a", "b"}, value.Strings([]string{"a", "b"}).Texts()); diff != "" {
		t.Errorf("texts (-want +got):\n%s", diff)
	}
	if v := value.Int(math.MinInt64); v.Int() != math.MinInt64 || v.Float() != math.MinInt64 {
		t.Errorf("the least number is %d, %f", v.Int(), v.Float())
	}
	if v := value.Float(-0.5); v.Float() != -0.5 || v.Int() != 0 {
		t.Errorf("a fraction is %f, %d", v.Float(), v.Int())
	}
	if v := value.Ref("web", "uid:1"); v.Text() != "web" || v.Key() != "uid:1" || !v.IsRef() {
		t.Errorf("a reference is %q, %q", v.Text(), v.Key())
	}
	// What a value does not hold is empty, never what its bits happen to mean.
	for _, v := range []value.Value{value.Missing(), value.Int(5), value.Float(5), value.Bool(true)} {
		if v.Text() != "" || v.Texts() != nil || v.Key() != "" || v.IsRef() {
			t.Errorf("%s has a text", v)
		}
	}
	for _, v := range []value.Value{value.Missing(), value.String("x"), value.Strings([]string{"x"}), value.Int(1)} {
		if v.Bool() {
			t.Errorf("%s is true", v)
		}
	}
}

func TestAt(t *testing.T) {
	v := value.Strings([]string{"a", "b"})
	if !v.At(1).Equal(value.String("b")) || !value.Int(5).At(0).Equal(value.Int(5)) {
		t.Errorf("values are %s, %s", v.At(1), value.Int(5).At(0))
	}
	for _, v := range []value.Value{value.Missing(), value.Int(5), v} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s has a value at 2", v)
				}
			}()
			v.At(2)
		}()
	}
}

func TestEqual(t *testing.T) {
	all := []value.Value{
		value.Missing(), value.String(""), value.String("a"), value.String("b"), value.Strings([]string{"a"}),
		value.Strings([]string{"a", "b"}), value.Strings([]string{"a", "c"}), value.Int(1), value.Float(1), value.Bool(true),
		value.Bool(false), value.Ref("a", "k"), value.Ref("a", ""), value.Ref("a", "l"),
	}
	for i, a := range all {
		for j, b := range all {
			if a.Equal(b) != (i == j) {
				t.Errorf("%s and %s: equal is %v", a, b, a.Equal(b))
			}
		}
	}
	if !value.String("ab").Equal(value.String(strings.Repeat("a", 1) + "b")) {
		t.Error("equality depends on where a text is")
	}
}

// TestTextsStayAlive: a value keeps what it points to from being collected.
func TestTextsStayAlive(t *testing.T) {
	values := make([]value.Value, 1000)
	for i := range values {
		if i%2 == 0 {
			values[i] = value.String(strings.Repeat("x", 100+i))
		} else {
			values[i] = value.Strings([]string{strings.Repeat("y", 100+i)})
		}
	}
	for range 3 {
		runtime.GC()
		_ = make([]byte, 1<<20)
	}
	for i, v := range values {
		if got := v.At(0).Text(); len(got) != 100+i || strings.Trim(got, "xy") != "" {
			t.Fatalf("value %d is damaged", i)
		}
	}
}

func TestCost(t *testing.T) {
	if size := unsafe.Sizeof(value.Value{}); size > 48 {
		t.Errorf("a value has %d bytes", size)
	}
	text, list := strings.Repeat("a", 3), []string{"a", "b"}
	n := testing.AllocsPerRun(100, func() {
		for _, v := range []value.Value{value.String(text), value.Strings(list), value.Ref(text, text), value.Int(5)} {
			_ = v.Len() + len(v.Text()) + len(v.Texts())
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTypeNames(t *testing.T) {
	seen := map[string]bool{}
	for ty := value.Keyword; ty <= value.Reference+1; ty++ {
		if s := ty.String(); s == "" || seen[s] {
			t.Errorf("type %d is called %q", ty, s)
		} else {
			seen[s] = true
		}
	}
}
