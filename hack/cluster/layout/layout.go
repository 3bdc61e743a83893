package layout

import (
	"fmt"
	"path/filepath"
)

// Names that are visible to the whole machine.
const (
	// Netns is the network namespace, as `ip netns` lists it.
	Netns = "portcullis-test"
	// HostLink is the host's end of the cable to the cluster.
	HostLink = "portcullis0"
	// NodeLink is the other end, inside the cluster's network namespace.
	NodeLink = "node0"
	// Cgroup is the parent of every pod's cgroup, in each hierarchy.
	Cgroup = "/portcullis-test"
	// Marker is a symbolic link to the state directory of the cluster that is up.
	// It lies in /run, so a reboot forgets it.
	Marker = "/run/portcullis-test-cluster"
	// LockName is the abstract unix socket that serialises commands which change the cluster.
	LockName = "@portcullis-test-cluster"
)

// Addresses and what is reachable at them.
const (
	// NodeIP is the node: the API server listens at port 6443, the kubelet at 10250.
	NodeIP = "10.123.0.1"
	// HostIP is the machine outside the cluster, as the cluster sees it.
	HostIP = "10.123.0.2"
	// LinkCIDR is the network of the two.
	LinkCIDR = "10.123.0.0/24"
	// PodCIDR is where pods get their addresses.
	PodCIDR = "10.244.0.0/24"
	// ServiceCIDR is where services get theirs.
	ServiceCIDR = "10.96.0.0/16"
	// KubernetesServiceIP is the first of them, the API server's.
	KubernetesServiceIP = "10.96.0.1"
	// APIServer is the API server's URL, from inside and outside alike.
	APIServer = "https://" + NodeIP + ":6443"
	// NodeName is what the only node is called.
	NodeName = "node1"
)

// Images that every cluster has.
const (
	// PauseImage holds the namespaces of each pod.
	PauseImage = "localhost/pause:1"
	// ShellImage has the programs that a person uses in a pod's shell.
	ShellImage = "localhost/shell:1"
)

// maxState keeps the longest unix socket path below the kernel's 108 bytes.
const maxState = 60

// A Layout is one cluster's place on disk.
type Layout struct {
	// State is the directory that holds everything of the cluster, absolute.
	State string
	// Bin holds etcd, the Kubernetes daemons, kubectl and helm.
	Bin string
}

// New returns the layout of the cluster at state, which becomes absolute.
func New(state, bin string) (Layout, error) {
	absolute, err := filepath.Abs(state)
	if err != nil {
		return Layout{}, fmt.Errorf("state directory: %w", err)
	}
	if len(absolute) > maxState {
		return Layout{}, fmt.Errorf("state directory %s: longer than %d bytes, which leaves no room for the names of unix sockets below it", absolute, maxState)
	}
	if absolute == "/" {
		return Layout{}, fmt.Errorf("state directory: / is not a directory to make and remove")
	}
	return Layout{State: absolute, Bin: bin}, nil
}

func (l Layout) path(parts ...string) string {
	return filepath.Join(append([]string{l.State}, parts...)...)
}

// Program is the path of one of the binaries that `build` makes.
func (l Layout) Program(name string) string { return filepath.Join(l.Bin, name) }

// AdminKubeconfig is the cluster administrator's kubeconfig.
func (l Layout) AdminKubeconfig() string { return l.path("kubeconfig") }

// UserKubeconfig is where `user NAME` leaves that user's kubeconfig.
func (l Layout) UserKubeconfig(name string) string { return l.path("users", name+".kubeconfig") }

// Users is the directory of all of those.
func (l Layout) Users() string { return l.path("users") }

// PKI is the directory of the certificate authority and the daemons' certificates.
func (l Layout) PKI() string { return l.path("pki") }

// Cert and Key are the files of a certificate of this name.
func (l Layout) Cert(name string) string { return l.path("pki", name+".crt") }

// Key is the private key that belongs to [Layout.Cert].
func (l Layout) Key(name string) string { return l.path("pki", name+".key") }

// Kubeconfig is the kubeconfig of a daemon.
func (l Layout) Kubeconfig(name string) string { return l.path("pki", name+".kubeconfig") }

// ConfigDir is the directory of the daemons' configuration files.
func (l Layout) ConfigDir() string { return l.path("config") }

// Config is one of them.
func (l Layout) Config(name string) string { return l.path("config", name) }

// Logs is the directory of the daemons' logs.
func (l Layout) Logs() string { return l.path("logs") }

// Log is one daemon's log.
func (l Layout) Log(name string) string { return l.path("logs", name+".log") }

// AuditLog is where the API server writes its audit log while auditing is on.
func (l Layout) AuditLog() string { return l.path("logs", "audit.jsonl") }

// Etcd is etcd's data.
func (l Layout) Etcd() string { return l.path("etcd") }

// Kubelet is the kubelet's root directory.
func (l Layout) Kubelet() string { return l.path("kubelet") }

// StaticPods is the directory of pods that the kubelet runs by itself.
func (l Layout) StaticPods() string { return l.path("static-pods") }

// Volumes is the directory of the persistent volumes.
func (l Layout) Volumes() string { return l.path("volumes") }

// Images is the directory of the test images' archives.
func (l Layout) Images() string { return l.path("images") }

// Containerd is containerd's root directory.
func (l Layout) Containerd() string { return l.path("containerd", "root") }

// ContainerdState is containerd's directory of what is running.
func (l Layout) ContainerdState() string { return l.path("containerd", "run") }

// ContainerdSocket is where containerd answers.
func (l Layout) ContainerdSocket() string { return l.path("containerd", "containerd.sock") }

// CNI is the directory of the pod network's configuration.
func (l Layout) CNI() string { return l.path("cni") }

// CNIData is where the pod network keeps which address is taken.
func (l Layout) CNIData() string { return l.path("cni-data") }

// VarLog is what daemons and pods see as /var/log.
func (l Layout) VarLog() string { return l.path("var-log") }

// Sysctl holds the files that stand in for kernel settings, see package supervisor.
func (l Layout) Sysctl() string { return l.path("sysctl") }

// ControlSocket is where the supervisor takes orders.
func (l Layout) ControlSocket() string { return l.path("control.sock") }

// Record is what the supervisor wrote about itself, see package teardown.
func (l Layout) Record() string { return l.path("cluster.json") }

// PreviousLogs is where `up` puts the logs of the run before.
func (l Layout) PreviousLogs() string { return l.path("logs.previous") }

// Disposable lists what `down` removes: everything but the logs. The state
// directory is somebody's choice, so nothing else in it is ever touched.
func (l Layout) Disposable() []string {
	return []string{
		l.AdminKubeconfig(), l.Users(), l.PKI(), l.ConfigDir(), l.Etcd(), l.Kubelet(), l.StaticPods(), l.Volumes(),
		l.Images(), l.path("containerd"), l.CNI(), l.CNIData(), l.VarLog(), l.Sysctl(), l.ControlSocket(), l.Record(),
	}
}
