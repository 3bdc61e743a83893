package kubebuild

import (
	"path"
	"strings"
)

// A counter knows how many packages are finished. The go command says only
// when it begins one, and says nothing of those in its cache; but it begins a
// package only after everything that the package imports, so each line
// settles all of those as well. That makes a bar that is right for a cold
// cache, a warm one and all between.
type counter struct {
	deps     map[string][]string
	finished map[string]bool
}

func newCounter(packages []listedPackage) *counter {
	c := &counter{deps: make(map[string][]string, len(packages)), finished: map[string]bool{}}
	for _, pkg := range packages {
		c.deps[pkg.ImportPath] = pkg.Deps
	}
	return c
}

// begin notes that a package is being compiled, and reports false when the name is none.
func (c *counter) begin(pkg string) bool {
	deps, known := c.deps[pkg]
	if !known {
		return false
	}
	for _, dep := range deps {
		if _, listed := c.deps[dep]; listed {
			c.finished[dep] = true
		}
	}
	c.finished[pkg] = true
	return true
}

func (c *counter) count() int { return len(c.finished) }
func (c *counter) total() int { return len(c.deps) }

// program returns the name of the program whose main package this is.
func (c *counter) program(pkg string) (string, bool) {
	if !strings.HasSuffix(path.Dir(pkg), modulePath+"/cmd") {
		return "", false
	}
	return path.Base(pkg), true
}
