package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/portcullis-dev/portcullis/hack/cluster/cgroup"
	"github.com/portcullis-dev/portcullis/hack/cluster/component"
	"github.com/portcullis-dev/portcullis/hack/cluster/containers"
	"github.com/portcullis-dev/portcullis/hack/cluster/footprint"
	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
)

// Time limits. Generous, because a busy machine is three to six times slower
// than an idle one, where all of this takes a quarter of a minute.
const (
	bootTimeout    = 5 * time.Minute
	restartTimeout = 2 * time.Minute
	stopGrace      = 5 * time.Second
	// storageGrace is short: the API server and etcd would take long to put in
	// order what is thrown away.
	storageGrace = time.Second
	killTimeout  = 30 * time.Second
	// restartGrace lets the API server end its requests as it does in life.
	restartGrace = 10 * time.Second
)

// Options are what a supervisor needs.
type Options struct {
	// Layout says where everything is.
	Layout layout.Layout
	// Cable is read to its end before the network is set up: the parent
	// closes it once it has laid the link into this network namespace.
	Cable io.Reader
	// Reports receives one JSON [Report] per line while the cluster comes up.
	Reports io.Writer
	// Logger receives what happens later.
	Logger *slog.Logger
	// Now is the clock.
	Now func() time.Time
}

func (o Options) validate() error {
	switch {
	case o.Layout.State == "":
		return errors.New("supervisor options: Layout is empty")
	case o.Cable == nil:
		return errors.New("supervisor options: Cable is nil")
	case o.Reports == nil:
		return errors.New("supervisor options: Reports is nil")
	case o.Logger == nil:
		return errors.New("supervisor options: Logger is nil")
	case o.Now == nil:
		return errors.New("supervisor options: Now is nil")
	}
	return nil
}

type supervisor struct {
	options Options
	layout  layout.Layout
	logger  *slog.Logger
	prober  *prober
	spawner *spawner
	cgroup  cgroup.Tree
	daemons map[string]*daemon
	order   []string

	restarting sync.Mutex // one API server restart at a time
	audit      component.Audit
}

// Run brings the cluster up, keeps it up until ctx ends, and stops it. It
// returns early, with everything stopped, when the cluster does not come up.
func Run(ctx context.Context, options Options) error {
	if err := options.validate(); err != nil {
		return err
	}
	reports := reporter{w: options.Reports}
	// First of all: stopping ends every process of the mount namespace.
	if err := refuseHostNamespaces(); err != nil {
		reports.failed(err)
		return err
	}
	s, err := newSupervisor(options)
	if err != nil {
		reports.failed(err)
		return err
	}
	defer s.spawner.close() // last, when all daemons are stopped
	defer s.stop(context.WithoutCancel(ctx))

	booting, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	if err := s.boot(booting, reports); err != nil {
		reports.failed(err)
		return err
	}
	for _, d := range s.daemons {
		d.keepUp()
	}
	return s.serve(ctx, reports)
}

func newSupervisor(options Options) (*supervisor, error) {
	tree, err := cgroup.Open(layout.Cgroup)
	if err != nil {
		return nil, err
	}
	s := &supervisor{
		options: options,
		layout:  options.Layout,
		logger:  options.Logger,
		prober:  newProber(),
		spawner: newSpawner(),
		cgroup:  tree,
		daemons: map[string]*daemon{},
	}
	for _, c := range component.Daemons(options.Layout) {
		s.order = append(s.order, c.Name)
		s.daemons[c.Name] = &daemon{
			spawner: s.spawner, logPath: options.Layout.Log(c.Name), logger: options.Logger, now: options.Now, component: c,
		}
	}
	return s, nil
}

// serve answers the command line until ctx ends.
func (s *supervisor) serve(ctx context.Context, reports reporter) error {
	api, err := newKubeAPI(s.layout.AdminKubeconfig())
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", s.layout.ControlSocket())
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	var background sync.WaitGroup
	defer background.Wait()
	disks := &volumes{api: api, dir: s.layout.Volumes(), logger: s.logger}
	background.Go(func() { disks.run(ctx) })

	reports.ready()
	s.logger.Info("cluster is up", "state", s.layout.State)
	return s.serveControl(ctx, listener)
}

// boot does everything up to a node that runs pods.
func (s *supervisor) boot(ctx context.Context, reports reporter) error {
	// The link has to be there first; the parent lays it when it sees us run.
	if _, err := io.Copy(io.Discard, s.options.Cable); err != nil {
		return fmt.Errorf("wait for the network link: %w", err)
	}
	if err := prepareMounts(s.layout); err != nil {
		return err
	}
	if err := prepareNetwork(ctx); err != nil {
		return err
	}
	if err := s.cgroup.Create(); err != nil {
		return err
	}
	reports.milestone("own network, mounts and cgroup")

	api, err := newKubeAPI(s.layout.AdminKubeconfig())
	if err != nil {
		return err
	}
	if err := s.bootRuntime(ctx, reports); err != nil {
		return err
	}
	if err := s.bootControlPlane(ctx, reports, api); err != nil {
		return err
	}
	return s.bootNode(ctx, reports, api)
}

// bootRuntime starts what needs nothing else and loads the test images.
func (s *supervisor) bootRuntime(ctx context.Context, reports reporter) error {
	for _, name := range []string{component.Etcd, component.Containerd} {
		if err := s.daemons[name].start(); err != nil {
			return err
		}
	}
	if err := s.healthy(ctx, component.Etcd); err != nil {
		return err
	}
	reports.milestone("etcd answers")
	// It takes the longest, and nothing of what follows here.
	if err := s.daemons[component.APIServer].start(); err != nil {
		return err
	}
	if err := s.healthy(ctx, component.Containerd); err != nil {
		return err
	}
	archives, err := filepath.Glob(filepath.Join(s.layout.Images(), "*.tar"))
	if err != nil {
		return fmt.Errorf("list images: %w", err)
	}
	client := containers.NewClient(s.layout.ContainerdSocket())
	for _, archive := range archives {
		if _, err := client.Import(ctx, archive); err != nil {
			return err
		}
	}
	reports.milestone("containerd answers, test images are loaded")
	return nil
}

func (s *supervisor) bootControlPlane(ctx context.Context, reports reporter, api *kubeAPI) error {
	if err := s.healthy(ctx, component.APIServer); err != nil {
		return err
	}
	reports.milestone("API server is ready")
	for _, name := range followers() {
		if err := s.daemons[name].start(); err != nil {
			return err
		}
	}
	disks := &volumes{api: api, dir: s.layout.Volumes(), logger: s.logger}
	if err := disks.create(ctx); err != nil {
		return err
	}
	reports.milestone("default storage class with %d volumes", volumeCount)
	return nil
}

func (s *supervisor) bootNode(ctx context.Context, reports reporter, api *kubeAPI) error {
	for _, name := range followers() {
		if err := s.healthy(ctx, name); err != nil {
			return err
		}
	}
	reports.milestone("controller-manager, scheduler, kube-proxy and kubelet answer")
	if err := until(ctx, "the default service account", api.exists("/api/v1/namespaces/default/serviceaccounts/default")); err != nil {
		return s.blame(component.ControllerManager, err)
	}
	if err := until(ctx, "the cluster's certificate in the default namespace", api.exists("/api/v1/namespaces/default/configmaps/kube-root-ca.crt")); err != nil {
		return s.blame(component.ControllerManager, err)
	}
	reports.milestone("default service account exists")
	if err := until(ctx, "the node to be Ready", api.nodeReady(layout.NodeName)); err != nil {
		return s.blame(component.Kubelet, err)
	}
	reports.milestone("node %s is Ready", layout.NodeName)
	return nil
}

func (s *supervisor) healthy(ctx context.Context, name string) error {
	return s.daemons[name].waitHealthy(ctx, s.prober)
}

// blame adds the log of the daemon whose work was waited for.
func (s *supervisor) blame(name string, err error) error {
	return s.daemons[name].failure("has not done its part: " + err.Error())
}

// restartAPIServer replaces the API server by one with these audit settings.
// When the new one does not come up, the old settings are put back, so that a
// mistake in a policy file does not cost the cluster.
func (s *supervisor) restartAPIServer(ctx context.Context, audit component.Audit) error {
	s.restarting.Lock()
	defer s.restarting.Unlock()
	if err := audit.Validate(); err != nil {
		return fmt.Errorf("%w (inside the cluster, /run and /var/log are not the machine's: keep the files elsewhere)", err)
	}
	if err := s.replaceAPIServer(ctx, audit); err != nil {
		rollback := s.replaceAPIServer(context.WithoutCancel(ctx), s.audit)
		if rollback != nil {
			return errors.Join(err, fmt.Errorf("and with the settings before it: %w", rollback))
		}
		return fmt.Errorf("%w\n  The API server runs again with the settings that it had before", err)
	}
	s.audit = audit
	s.logger.Info("API server restarted", "audit", audit.Dir)
	return nil
}

// followers are the daemons that watch the API server, in the order in which they start.
func followers() []string {
	return []string{component.ControllerManager, component.Kubelet, component.Scheduler, component.Proxy}
}

// replaceAPIServer does not let its followers see the API server go: each
// failed watch doubles the time until the next try, up to half a minute, and
// after a few restarts a new pod would wait that long.
func (s *supervisor) replaceAPIServer(ctx context.Context, audit component.Audit) error {
	ctx, cancel := context.WithTimeout(ctx, restartTimeout)
	defer cancel()
	api, err := newKubeAPI(s.layout.AdminKubeconfig())
	if err != nil {
		return err
	}
	s.stopAll(stopGrace, followers()...)
	server := s.daemons[component.APIServer]
	if err := server.replace(component.NewAPIServer(s.layout, audit), restartGrace); err != nil {
		return err
	}
	if err := server.waitHealthy(ctx, s.prober); err != nil {
		return err
	}
	for _, name := range followers() {
		if err := s.daemons[name].start(); err != nil {
			return err
		}
	}
	if err := s.followersWork(ctx, api); err != nil {
		return err
	}
	for _, name := range append(followers(), component.APIServer) {
		s.daemons[name].keepUp()
	}
	return nil
}

// followersWork waits until pods can be made again. The controllers show that
// they work by restoring something that nobody uses; until they do, a pod in a
// new namespace is refused for want of a service account.
func (s *supervisor) followersWork(ctx context.Context, api *kubeAPI) error {
	const unused = "/api/v1/namespaces/kube-public/serviceaccounts/default"
	if err := api.remove(ctx, unused); err != nil {
		return fmt.Errorf("see whether controllers work: %w", err)
	}
	for _, name := range followers() {
		if err := s.healthy(ctx, name); err != nil {
			return err
		}
	}
	if err := until(ctx, "the controllers to work again", api.exists(unused)); err != nil {
		return s.blame(component.ControllerManager, err)
	}
	if err := until(ctx, "the node to be Ready", api.nodeReady(layout.NodeName)); err != nil {
		return s.blame(component.Kubelet, err)
	}
	return nil
}

// stop ends the daemons and every container, in the order in which each still
// has what it needs: those that make pods, the pods, then what they run on.
func (s *supervisor) stop(ctx context.Context) {
	s.stopAll(stopGrace, followers()...)
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	if err := s.cgroup.Kill(ctx); err != nil {
		s.logger.Error("containers are left", "err", err)
	}
	s.stopAll(storageGrace, component.APIServer, component.Etcd)
	s.stopAll(stopGrace, component.Containerd)
	own, err := footprint.NamespaceOf(os.Getpid(), "mnt")
	if err == nil {
		err = footprint.KillIn(ctx, "mnt", own, os.Getpid())
	}
	if err != nil {
		s.logger.Error("processes are left", "err", err)
	}
}

func (s *supervisor) stopAll(grace time.Duration, names ...string) {
	var stopping sync.WaitGroup
	for _, name := range names {
		stopping.Go(func() { s.daemons[name].stop(grace) })
	}
	stopping.Wait()
}

func (s *supervisor) status(ctx context.Context) []Status {
	statuses := make([]Status, len(s.order))
	var asking sync.WaitGroup
	for i, name := range s.order {
		asking.Go(func() { statuses[i] = s.daemons[name].status(ctx, s.prober) })
	}
	asking.Wait()
	return statuses
}
