package component

import (
	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
)

// Names of the daemons, in the order in which they start.
const (
	Etcd              = "etcd"
	Containerd        = "containerd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Proxy             = "kube-proxy"
	Kubelet           = "kubelet"
)

// A Component is one daemon.
type Component struct {
	// Name is also that of its log.
	Name string
	// Argv is the command line; Argv[0] is a path or a name to look up in PATH.
	Argv []string
	// Health is where it says whether it works.
	Health Probe
}

// A Probe is a health question. Exactly one field is set. The addresses are
// inside the cluster's network namespace.
type Probe struct {
	// URL answers 200 while all is well.
	URL string
	// Socket is a unix socket that accepts connections only once the daemon serves.
	Socket string
}

// Daemons returns all of them in the order in which they start, with the API server without auditing.
func Daemons(l layout.Layout) []Component {
	return []Component{
		etcd(l), containerd(l), NewAPIServer(l, Audit{}), controllerManager(l), scheduler(l), proxy(l), kubelet(l),
	}
}

func etcd(l layout.Layout) Component {
	return Component{
		Name: Etcd,
		Argv: []string{
			l.Program(Etcd),
			"--name=" + layout.NodeName,
			"--data-dir=" + l.Etcd(),
			"--listen-client-urls=http://127.0.0.1:2379",
			"--advertise-client-urls=http://127.0.0.1:2379",
			"--listen-peer-urls=http://127.0.0.1:2380",
			"--initial-advertise-peer-urls=http://127.0.0.1:2380",
			"--initial-cluster=" + layout.NodeName + "=http://127.0.0.1:2380",
			// The data is thrown away with the cluster; waiting for the disk would buy nothing.
			"--unsafe-no-fsync",
			"--log-level=warn",
		},
		Health: Probe{URL: "http://127.0.0.1:2379/health"},
	}
}

func containerd(l layout.Layout) Component {
	return Component{
		Name:   Containerd,
		Argv:   []string{Containerd, "--config=" + l.Config(containerdConfig)},
		Health: Probe{Socket: l.ContainerdSocket()},
	}
}

func controllerManager(l layout.Layout) Component {
	return Component{
		Name: ControllerManager,
		Argv: []string{
			l.Program(ControllerManager),
			"--kubeconfig=" + l.Kubeconfig(ControllerManager),
			"--service-account-private-key-file=" + l.Key(ServiceAccountKey),
			"--root-ca-file=" + l.Cert(CA),
			"--cluster-signing-cert-file=" + l.Cert(CA),
			"--cluster-signing-key-file=" + l.Key(CA),
			"--use-service-account-credentials",
			"--allocate-node-cidrs=false",
			"--leader-elect=false",
			"--bind-address=127.0.0.1",
		},
		Health: Probe{URL: "https://127.0.0.1:10257/healthz"},
	}
}

func scheduler(l layout.Layout) Component {
	return Component{
		Name: Scheduler,
		Argv: []string{
			l.Program(Scheduler),
			"--kubeconfig=" + l.Kubeconfig(Scheduler),
			"--leader-elect=false",
			"--bind-address=127.0.0.1",
		},
		Health: Probe{URL: "https://127.0.0.1:10259/healthz"},
	}
}

func proxy(l layout.Layout) Component {
	return Component{
		Name:   Proxy,
		Argv:   []string{l.Program(Proxy), "--config=" + l.Config(proxyConfig)},
		Health: Probe{URL: "http://127.0.0.1:10256/healthz"},
	}
}

func kubelet(l layout.Layout) Component {
	return Component{
		Name: Kubelet,
		Argv: []string{
			l.Program(Kubelet),
			"--kubeconfig=" + l.Kubeconfig(Kubelet),
			"--config=" + l.Config(kubeletConfig),
			"--root-dir=" + l.Kubelet(),
			"--hostname-override=" + layout.NodeName,
			"--node-ip=" + layout.NodeIP,
			"--v=2",
		},
		Health: Probe{URL: "http://127.0.0.1:10248/healthz"},
	}
}
