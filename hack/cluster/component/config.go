package component

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
)

// Names of the configuration files.
const (
	containerdConfig = "containerd.toml"
	kubeletConfig    = "kubelet.yaml"
	proxyConfig      = "kube-proxy.yaml"
	resolvConf       = "resolv.conf"
)

// Facts are what the configuration depends on besides the layout.
type Facts struct {
	// Snapshotter is containerd's: overlayfs, or native where the state directory cannot carry an overlay.
	Snapshotter string
	// MaxOpenFiles is the kubelet's limit, which may not be above this process' hard limit.
	MaxOpenFiles uint64
}

// WriteConfigs writes the daemons' configuration files and makes the directories that they expect.
func WriteConfigs(l layout.Layout, facts Facts) error {
	for _, dir := range []string{l.StaticPods(), l.Volumes(), l.Logs(), l.CNI(), l.CNIData(), l.Kubelet(), l.VarLog()} {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // pods read some of these
			return fmt.Errorf("write configuration: %w", err)
		}
	}
	files := map[string]string{
		l.Config(containerdConfig):                 containerdTOML(l, facts),
		l.Config(kubeletConfig):                    kubeletYAML(l, facts),
		l.Config(proxyConfig):                      proxyYAML(l),
		l.Config(resolvConf):                       resolvConfText,
		filepath.Join(l.CNI(), "10-pods.conflist"): cniJSON(l),
	}
	for path, text := range files {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
	}
	return nil
}

// There is no DNS in the cluster. Pods are sent to a loopback address of their
// own, where nobody listens, so that a lookup fails at once. With no server at
// all they would get the machine's, which they cannot reach, and hang.
const (
	noDNS          = "127.0.0.1"
	resolvConfText = "nameserver " + noDNS + "\n"
)

func containerdTOML(l layout.Layout, facts Facts) string {
	return fmt.Sprintf(`version = 2
root = %q
state = %q
oom_score = 0
disabled_plugins = [
  "io.containerd.internal.v1.tracing",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = %q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  # Without CAP_SYS_RESOURCE a container's score cannot go below containerd's own.
  restrict_oom_score_adj = true
  # A loaded AppArmor profile would outlive the cluster.
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = %q
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = %q
`, l.Containerd(), l.ContainerdState(), l.ContainerdSocket(), layout.PauseImage, facts.Snapshotter, l.CNI())
}

// Pods hang on point-to-point links instead of a bridge, so that everything
// between two pods is routed by the node. On a bridge, the answer from a pod
// behind a service goes straight to the asking pod and misses the address
// translation, unless the kernel passes bridged frames through netfilter.
func cniJSON(l layout.Layout) string {
	return fmt.Sprintf(`{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": true,
      "ipam": {"type": "host-local", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": %q}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`, layout.PodCIDR, l.CNIData())
}

func proxyYAML(l layout.Layout) string {
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: %s
hostnameOverride: %s
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
clientConnection:
  kubeconfig: %q
conntrack:
  # Leave the machine's connection tracking as it is.
  maxPerCore: 0
  min: 0
`, layout.PodCIDR, layout.NodeName, l.Kubeconfig(Proxy))
}

func kubeletYAML(l layout.Layout, facts Facts) string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://%[1]s
cgroupDriver: cgroupfs
cgroupRoot: %[2]s
# Since 1.35 the kubelet refuses cgroup v1 unless told otherwise.
failCgroupV1: false
enforceNodeAllocatable: [pods]
address: 0.0.0.0
port: 10250
readOnlyPort: 0
healthzBindAddress: 127.0.0.1
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %[3]q}
authorization: {mode: Webhook}
tlsCertFile: %[4]q
tlsPrivateKeyFile: %[5]q
clusterDomain: cluster.local
clusterDNS: [%[10]s]
resolvConf: %[6]q
staticPodPath: %[7]q
volumePluginDir: %[8]q
# Lowering the score or raising the limit would need CAP_SYS_RESOURCE.
oomScoreAdj: 0
maxOpenFiles: %[9]d
failSwapOn: false
makeIPTablesUtilChains: false
nodeStatusUpdateFrequency: 5s
syncFrequency: 10s
# A full disk must not make the kubelet throw away images that no registry can bring back.
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, imagefs.available: 1%%}
`, l.ContainerdSocket(), layout.Cgroup, l.Cert(CA), l.Cert(KubeletServer), l.Key(KubeletServer),
		l.Config(resolvConf), l.StaticPods(), filepath.Join(l.Kubelet(), "volume-plugins"), facts.MaxOpenFiles, noDNS)
}
