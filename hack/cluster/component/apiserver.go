package component

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
)

// Files of an audit directory, as `portcullisctl audit config` writes them.
const (
	auditPolicy     = "audit-policy.yaml"
	auditKubeconfig = "audit-webhook.kubeconfig"
)

// Audit is how the API server is told to send its audit stream.
type Audit struct {
	// Dir holds audit-policy.yaml and audit-webhook.kubeconfig. Empty turns auditing off.
	Dir string
	// Mode is batch, blocking or blocking-strict.
	Mode string
	// BatchMaxWait is how long an event may wait for its batch to fill; the API server's own default is 30 s.
	BatchMaxWait time.Duration
}

// Validate says what is missing, in words for the person who typed the command.
func (a Audit) Validate() error {
	if a.Dir == "" {
		return nil
	}
	switch a.Mode {
	case "batch", "blocking", "blocking-strict":
	default:
		return fmt.Errorf("audit webhook mode %q: not one of batch, blocking, blocking-strict", a.Mode)
	}
	if a.BatchMaxWait <= 0 {
		return fmt.Errorf("audit webhook batch wait %s: not a positive duration", a.BatchMaxWait)
	}
	if !filepath.IsAbs(a.Dir) {
		return fmt.Errorf("audit directory %s: not an absolute path", a.Dir)
	}
	var missing []error
	for _, name := range []string{auditPolicy, auditKubeconfig} {
		if _, err := os.Stat(filepath.Join(a.Dir, name)); err != nil {
			missing = append(missing, fmt.Errorf("audit directory: %w", err))
		}
	}
	return errors.Join(missing...)
}

func (a Audit) flags(l layout.Layout) []string {
	if a.Dir == "" {
		return nil
	}
	flags := []string{
		"--audit-policy-file=" + filepath.Join(a.Dir, auditPolicy),
		"--audit-webhook-config-file=" + filepath.Join(a.Dir, auditKubeconfig),
		"--audit-webhook-mode=" + a.Mode,
		"--audit-webhook-initial-backoff=1s",
		"--audit-webhook-version=audit.k8s.io/v1",
		"--audit-log-path=" + l.AuditLog(),
	}
	if a.Mode == "batch" {
		flags = append(flags, "--audit-webhook-batch-max-wait="+a.BatchMaxWait.String())
	}
	return flags
}

// NewAPIServer returns the API server, which alone has settings that change while the cluster is up.
func NewAPIServer(l layout.Layout, audit Audit) Component {
	argv := slices.Concat([]string{
		l.Program(APIServer),
		"--etcd-servers=http://127.0.0.1:2379",
		"--bind-address=0.0.0.0",
		"--secure-port=6443",
		"--advertise-address=" + layout.NodeIP,
		"--tls-cert-file=" + l.Cert(APIServer),
		"--tls-private-key-file=" + l.Key(APIServer),
		"--client-ca-file=" + l.Cert(CA),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + l.Cert(ServiceAccountKey),
		"--service-account-signing-key-file=" + l.Key(ServiceAccountKey),
		"--service-cluster-ip-range=" + layout.ServiceCIDR,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged",
		"--kubelet-client-certificate=" + l.Cert(KubeletClient),
		"--kubelet-client-key=" + l.Key(KubeletClient),
		"--kubelet-certificate-authority=" + l.Cert(CA),
		"--kubelet-preferred-address-types=InternalIP",
		// Ends watches when it stops. It would wait a minute for them otherwise.
		"--shutdown-watch-termination-grace-period=1s",
	}, audit.flags(l))
	return Component{
		Name:   APIServer,
		Argv:   argv,
		Health: Probe{URL: "https://127.0.0.1:6443/readyz"},
	}
}
