package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
)

// Namespace is where the harness installs Portcullis.
const Namespace = "portcullis"

// Cluster is a real Kubernetes on this machine and the commands to use it.
type Cluster struct {
	Root       string // of the repository
	Bin        string // folder of kubectl and helm; empty for those of the path
	Kubeconfig string // the administrator's
	AuditLog   string // the API server's own audit log file
	Volumes    string // folder of the persistent volumes
	Work       string // folder for what the harness makes
	Log        io.Writer
	existing   bool // not ours to take down
	places     layout.Layout
}

// Up builds what is missing and brings up a new cluster. One that is up already
// is taken down first: what somebody did to it must not decide what is seen now.
// The caller takes it down. With ExistingKubeconfig set, it is that cluster
// which is used, and neither brought up nor taken down.
func Up(ctx context.Context, root, work string, log io.Writer) (*Cluster, error) {
	c := &Cluster{Root: root, Work: work, Log: log}
	if kubeconfig := os.Getenv(ExistingKubeconfig); kubeconfig != "" {
		return c, c.useExisting(kubeconfig)
	}
	if err := c.Down(ctx); err != nil {
		return nil, err
	}
	if _, err := c.Tool(ctx, "up"); err != nil {
		return nil, err
	}
	built, err := command{path: c.tool(), args: []string{"build", "--print-dir"}, dir: root}.must(ctx)
	if err != nil {
		return nil, err
	}
	state, err := os.Readlink(layout.Marker)
	if err != nil {
		return nil, fmt.Errorf("find the cluster that is up: %w", err)
	}
	places, err := layout.New(state, strings.TrimSpace(built.Stdout))
	if err != nil {
		return nil, err
	}
	c.places = places
	c.Kubeconfig, c.Bin, c.AuditLog, c.Volumes = places.AdminKubeconfig(), places.Bin, places.AuditLog(), places.Volumes()
	return c, nil
}

// Down takes the cluster down; an error says what was left behind.
func (c *Cluster) Down(ctx context.Context) error {
	if c.existing {
		return c.leaveExisting(ctx)
	}
	_, err := c.Tool(ctx, "down")
	return err
}

func (c *Cluster) tool() string { return filepath.Join(c.Root, "bin", "cluster") }

// Tool runs hack/cluster, showing its progress.
func (c *Cluster) Tool(ctx context.Context, args ...string) (Result, error) {
	return command{path: c.tool(), args: args, dir: c.Root, stdout: c.Log}.must(ctx)
}

// Make runs a target of the Makefile.
func (c *Cluster) Make(ctx context.Context, target string) error {
	_, err := command{path: "make", args: []string{"--no-print-directory", "-C", c.Root, target}, stdout: c.Log}.must(ctx)
	return err
}

// User is somebody who uses the cluster.
type User struct {
	c          *Cluster
	Name       string
	kubeconfig string
	as         []string // kubectl's flags to be that user, where there is no certificate
	extra      []string // environment variables
}

// With is the same user with further environment variables, name=value.
func (u User) With(variables ...string) User {
	u.extra = append(u.extra[:len(u.extra):len(u.extra)], variables...)
	return u
}

// Admin is the cluster's administrator.
func (c *Cluster) Admin() User { return User{c: c, Name: "kubernetes-admin", kubeconfig: c.Kubeconfig} }

// User returns an ordinary user with a client certificate, a member of group; on
// an existing cluster, which hands out no certificates, an impersonated one.
func (c *Cluster) User(ctx context.Context, name, group string) (User, error) {
	if c.existing {
		return User{c: c, Name: name, kubeconfig: c.Kubeconfig, as: []string{"--as=" + name, "--as-group=" + group}}, nil
	}
	r, err := command{path: c.tool(), args: []string{"user", name, "--group", group}, dir: c.Root}.must(ctx)
	if err != nil {
		return User{}, err
	}
	return User{c: c, Name: name, kubeconfig: strings.TrimSpace(r.Stdout)}, nil
}

func (u User) env() []string {
	env := []string{"KUBECONFIG=" + u.kubeconfig}
	if u.c.Bin != "" {
		env = append(env, "PATH="+u.c.Bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	}
	return append(env, u.extra...)
}

func (u User) program(name string) string {
	if name == "portcullisctl" {
		return filepath.Join(u.c.Root, "bin", name)
	}
	return filepath.Join(u.c.Bin, name) // with an empty Bin, the path is searched
}

// Run runs kubectl, helm or portcullisctl as the user and returns how it ended, also when it failed.
func (u User) Run(ctx context.Context, program string, args ...string) (Result, error) {
	r, err := command{path: u.program(program), args: append(u.as[:len(u.as):len(u.as)], args...), env: u.env(), dir: u.c.Root}.run(ctx)
	r.Command = strings.Join(append([]string{program}, args...), " ")
	return r, err
}

// Must runs it and turns any failure into an error.
func (u User) Must(ctx context.Context, program string, args ...string) (Result, error) {
	r, err := u.Run(ctx, program, args...)
	if err != nil {
		return r, err
	}
	return r, r.Err()
}

// REST is the user's way to the API server without kubectl, for requests that
// kubectl would not make.
func (u User) REST() (*rest.Config, error) {
	return clientcmd.BuildConfigFromFlags("", u.kubeconfig)
}

// Apply applies manifests.
func (u User) Apply(ctx context.Context, manifests string) error {
	_, err := command{
		path: u.program("kubectl"), args: []string{"apply", "-f", "-"},
		env: u.env(), stdin: strings.NewReader(manifests),
	}.must(ctx)
	return err
}

// Terminal runs kubectl on a terminal of its own.
func (u User) Terminal(ctx context.Context, args ...string) (*Terminal, error) {
	return startTerminal(ctx, u.env(), u.program("kubectl"), append(u.as[:len(u.as):len(u.as)], args...)...)
}

// Detections starts an HTTP endpoint that pods of the cluster can reach.
func (c *Cluster) Detections(ctx context.Context) (*Detections, error) {
	return listenForDetections(ctx, cmp.Or(os.Getenv(ExistingHost), layout.HostIP))
}

// Pod is what the harness wants to know of a pod.
type Pod struct{ UID, IP, Node string }

// Pod reads a pod.
func (u User) Pod(ctx context.Context, namespace, name string) (Pod, error) {
	r, err := u.Must(ctx, "kubectl", "get", "pod", "-n", namespace, name, "-o",
		"jsonpath={.metadata.uid} {.status.podIP} {.spec.nodeName}")
	if err != nil {
		return Pod{}, err
	}
	fields := strings.Fields(r.Stdout)
	if len(fields) != 3 {
		return Pod{}, fmt.Errorf("pod %s/%s is not running yet: %q", namespace, name, r.Stdout)
	}
	return Pod{UID: fields[0], IP: fields[1], Node: fields[2]}, nil
}

// AwaitLog follows a workload's log until a line holds text. It goes on when the
// connection breaks, as it does when the API server restarts.
func (u User) AwaitLog(ctx context.Context, namespace, workload, text string) error {
	for {
		r, found, err := u.followLog(ctx, namespace, workload, text)
		if found {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("the log of %s does not say %q; it says:\n%s%s", workload, text, r.Stdout, r.Stderr), err)
		case <-time.After(time.Second): // nothing tells when an API server is back
		}
	}
}

func (u User) followLog(ctx context.Context, namespace, workload, text string) (Result, bool, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watcher := &lineWatcher{text: text, found: cancel}
	r, err := command{
		path: u.program("kubectl"), args: []string{"logs", "-n", namespace, "-f", "--since=10m", workload},
		env: u.env(), stdout: watcher,
	}.run(ctx)
	return r, watcher.seen, err
}

type lineWatcher struct {
	text  string
	tail  string
	seen  bool
	found func()
}

func (w *lineWatcher) Write(p []byte) (int, error) {
	w.tail += string(p)
	if !w.seen && strings.Contains(w.tail, w.text) {
		w.seen = true
		w.found()
	}
	if keep := len(w.text); len(w.tail) > keep {
		w.tail = w.tail[len(w.tail)-keep:]
	}
	return len(p), nil
}

// step tells what is being done and how long it took.
func (c *Cluster) step(what string, do func() error) error {
	fmt.Fprintf(c.Log, "  … %s\n", what)
	start := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	fmt.Fprintf(c.Log, "  ✓ %s (%.1f s)\n", what, time.Since(start).Seconds())
	return nil
}
