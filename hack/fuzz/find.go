package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"path/filepath"
	"strings"
)

// pkg is a package with fuzz targets.
type pkg struct {
	Dir, ImportPath           string
	TestGoFiles, XTestGoFiles []string
	Module                    struct{ Path string }

	targets []string
}

// name is how the package is shown: its path in the module.
func (p *pkg) name() string {
	if p.ImportPath == p.Module.Path {
		return "."
	}
	return strings.TrimPrefix(p.ImportPath, p.Module.Path+"/")
}

// find returns the packages that have targets.
func find(ctx context.Context, o options) ([]*pkg, error) {
	args := append([]string{"list", "-json=Dir,ImportPath,Module,TestGoFiles,XTestGoFiles"}, o.patterns...)
	out, err := goCommand(ctx, o.dir, args...)
	if err != nil {
		return nil, err
	}
	var found []*pkg
	decoder := json.NewDecoder(strings.NewReader(out))
	for {
		p := &pkg{}
		if err := decoder.Decode(p); errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return nil, fmt.Errorf("read what go list says: %w", err)
		}
		for _, name := range append(p.TestGoFiles, p.XTestGoFiles...) {
			targets, err := targetsOf(filepath.Join(p.Dir, name))
			if err != nil {
				return nil, err
			}
			p.targets = append(p.targets, targets...)
		}
		if len(p.targets) > 0 {
			found = append(found, p)
		}
	}
}

// targetsOf returns the fuzz targets of a file.
func targetsOf(path string) ([]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Fuzz") || len(f.Type.Params.List) != 1 {
			continue
		}
		if star, ok := f.Type.Params.List[0].Type.(*ast.StarExpr); ok {
			if s, ok := star.X.(*ast.SelectorExpr); ok && s.Sel.Name == "F" {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names, nil
}
