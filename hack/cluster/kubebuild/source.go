package kubebuild

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// modulePath is where the build module is below the repository's root.
const modulePath = "hack/cluster/build"

// A Source is the module that pins the versions.
type Source struct {
	// Dir is the module's directory.
	Dir string
	// Version is that of Kubernetes ("v1.36.3").
	Version string
	// ID changes with everything that goes into the binaries.
	ID string
}

// FindSource looks for the build module in dir and its parents, then where
// this program itself was compiled from.
func FindSource(dir string) (Source, error) {
	for _, start := range []string{dir, ownDir()} {
		for at := start; at != "" && at != "."; at = filepath.Dir(at) {
			candidate := filepath.Join(at, modulePath)
			if _, err := os.Stat(filepath.Join(candidate, "go.mod")); err == nil {
				return ReadSource(candidate)
			}
			if at == "/" {
				break
			}
		}
	}
	return Source{}, fmt.Errorf("no %s/go.mod in %s or above it: run this inside the repository", modulePath, dir)
}

// ownDir is where this file was compiled; it does not exist when the program was built elsewhere.
func ownDir() string {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		return ""
	}
	return filepath.Dir(file)
}

// ReadSource reads the module at dir.
func ReadSource(dir string) (Source, error) {
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return Source{}, fmt.Errorf("read build module: %w", err)
	}
	version, err := kubernetesVersion(string(text))
	if err != nil {
		return Source{}, fmt.Errorf("read build module %s: %w", dir, err)
	}
	id, err := sourceID(dir, version)
	if err != nil {
		return Source{}, fmt.Errorf("read build module: %w", err)
	}
	return Source{Dir: dir, Version: version, ID: id}, nil
}

func kubernetesVersion(goMod string) (string, error) {
	found := regexp.MustCompile(`(?m)^\s*(?:require )?k8s\.io/kubernetes (v\d+\.\d+\.\d+\S*)`).FindStringSubmatch(goMod)
	if found == nil {
		return "", errors.New("it requires no k8s.io/kubernetes")
	}
	return found[1], nil
}

// sourceID hashes the module's files, in order, and the flags.
func sourceID(dir, version string) (string, error) {
	var paths []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.Type().IsRegular() && (strings.HasSuffix(name, ".go") || name == "go.mod" || name == "go.sum") {
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	slices.Sort(paths)
	hash := sha256.New()
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(hash, "%s %d\n", name, len(content))
		hash.Write(content)
	}
	fmt.Fprintln(hash, runtime.GOARCH, buildFlags(version), environment())
	return hex.EncodeToString(hash.Sum(nil))[:16], nil
}

// buildFlags leave out what nobody reads here: debugging information takes
// half the time and most of the space.
func buildFlags(version string) []string {
	major, minor := majorMinor(version)
	linker := "-s -w"
	// Without these the programs call themselves v0.0.0 and refuse to work with one another.
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		linker += fmt.Sprintf(" -X %[1]s.gitVersion=%[2]s -X %[1]s.gitMajor=%[3]s -X %[1]s.gitMinor=%[4]s -X %[1]s.gitTreeState=clean",
			pkg, version, major, minor)
	}
	return []string{"-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false", "-ldflags", linker}
}

// environment is added to the go command's; a lazier collector makes the compiler faster.
func environment() []string {
	return []string{"CGO_ENABLED=0", "GOGC=400", "GOWORK=off"}
}

// majorMinor splits "v1.36.3" into "1" and "36".
func majorMinor(version string) (major, minor string) {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 {
		return "", ""
	}
	return parts[0], parts[1]
}
