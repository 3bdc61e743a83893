package standalone

import (
	"context"
	"os"
	"strings"
	"testing"
)

func TestCleanupAfterAFailure(t *testing.T) {
	var order []string
	var dir string
	err := Run(t.Context(), Options{Name: "standalone-test"}, func(tb TB) {
		dir = tb.TempDir()
		tb.Cleanup(func() { order = append(order, "first") })
		tb.Cleanup(func() {
			if tb.Context().Err() == nil {
				order = append(order, "the context is not over")
			}
			order = append(order, "last")
			tb.Fatal("cannot clean up")
		})
		tb.Fatalf("no %s", "disk")
		order = append(order, "went on")
	})
	if got := strings.Join(order, ","); got != "last,first" {
		t.Errorf("cleaned up as %s", got)
	}
	if err == nil || !strings.Contains(err.Error(), "no disk") || !strings.Contains(err.Error(), "cannot clean up") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the temporary directory is left: %v", err)
	}
}

func TestPanicFails(t *testing.T) {
	err := Run(t.Context(), Options{}, func(TB) { panic("oh") })
	if err == nil || !strings.Contains(err.Error(), "oh") {
		t.Errorf("got %v", err)
	}
}

func TestContextOfTheCaller(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := Run(ctx, Options{}, func(tb TB) {
		cancel()
		<-tb.Context().Done()
	})
	if err != nil {
		t.Error(err)
	}
}
