package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/portcullis-dev/portcullis/config"
)

// shippedSpan is that of the longest shipped rule.
const shippedSpan = time.Minute

// writeRules writes the shipped rules to a directory, the longest with another span: a detection
// is final only when its span is over, and so is what may still be late.
func writeRules(dir string, span time.Duration) error {
	rules := config.Rules()
	names, err := fs.Glob(rules, "*.yaml")
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.yaml") {
			continue
		}
		text, err := fs.ReadFile(rules, name)
		if err != nil {
			return err
		}
		if name == tokenRule+".yaml" {
			was := []byte("maxspan=" + seconds(shippedSpan))
			if !bytes.Contains(text, was) {
				return fmt.Errorf("rule %s has no %s", tokenRule, was)
			}
			text = bytes.Replace(text, was, []byte("maxspan="+seconds(span)), 1)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%ds", d/time.Second) }
