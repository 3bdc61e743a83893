package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/portcullis-dev/portcullis/hack/cluster/kubebuild"
	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
	"github.com/portcullis-dev/portcullis/hack/cluster/supervisor"
)

// Environment variables that set the defaults of the flags.
const (
	stateVariable = "PORTCULLIS_CLUSTER_STATE"
	cacheVariable = "PORTCULLIS_CLUSTER_CACHE"
	defaultState  = "/var/lib/portcullis-test"
)

// settings are the flags that every command has.
type settings struct {
	state, cache string
	now          func() time.Time
}

func newRootCommand() *cobra.Command {
	s := &settings{now: time.Now}
	root := &cobra.Command{
		Use:   "cluster",
		Short: "A real Kubernetes on this machine, up and down by one command each",
		Long: `A real Kubernetes on this machine, up and down by one command each.

It runs in its own network and mount namespaces. The machine reaches the
cluster at ` + layout.NodeIP + `, pods and services at their own addresses; the cluster
reaches the machine at ` + layout.HostIP + `. There is no cluster DNS and no way out.`,
		Example: `  go run ./hack/cluster up
  eval "$(go run ./hack/cluster env)"; kubectl get pods -A
  go run ./hack/cluster image load dist/portcullis.tar
  go run ./hack/cluster apiserver restart --audit-dir /etc/portcullis/audit
  go run ./hack/cluster user alice --group devs
  go run ./hack/cluster logs kubelet --follow
  go run ./hack/cluster down`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
	}
	root.PersistentFlags().StringVar(&s.state, "state-dir", fromEnvironment(stateVariable, defaultState),
		"directory of everything that belongs to the cluster (default from $"+stateVariable+")")
	root.PersistentFlags().StringVar(&s.cache, "cache-dir", fromEnvironment(cacheVariable, userCache()),
		"directory of the built binaries, by version (default from $"+cacheVariable+")")
	root.AddCommand(
		newUpCommand(s), newDownCommand(s), newBuildCommand(s), newPreflightCommand(s), newStatusCommand(s), newEnvCommand(s),
		newLogsCommand(s), newAPIServerCommand(s), newImageCommand(s), newUserCommand(s), newSuperviseCommand(s),
	)
	return root
}

func fromEnvironment(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func userCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = "/var/cache" // no home, no XDG_CACHE_HOME: root without a login
	}
	return filepath.Join(dir, "portcullis")
}

// layout returns where everything is. It does not build: without binaries
// their directory is where they would be.
func (s *settings) layout() (layout.Layout, error) {
	source, err := s.source()
	if err != nil {
		return layout.Layout{}, err
	}
	bin, _ := kubebuild.Cached(s.cache, source)
	return layout.New(s.state, bin)
}

func (s *settings) source() (kubebuild.Source, error) {
	dir, err := os.Getwd()
	if err != nil {
		return kubebuild.Source{}, fmt.Errorf("working directory: %w", err)
	}
	return kubebuild.FindSource(dir)
}

func (s *settings) client() (*supervisor.Client, error) {
	l, err := s.layout()
	if err != nil {
		return nil, err
	}
	return supervisor.NewClient(l.ControlSocket()), nil
}

// steps prints what has been done, each line with the seconds since the start.
type steps struct {
	out   io.Writer
	start time.Time
	now   func() time.Time
}

func (s *settings) steps(out io.Writer) *steps {
	return &steps{out: out, start: s.now(), now: s.now}
}

func (s *steps) seconds() float64 { return s.now().Sub(s.start).Seconds() }

func (s *steps) printf(format string, args ...any) {
	fmt.Fprintf(s.out, "%7.1f s  %s\n", s.seconds(), fmt.Sprintf(format, args...))
}
