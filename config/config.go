package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// Mode says whether a rule's response is carried out or only told.
type Mode string

// The modes.
const (
	// Observe tells what a response would have done. It is the default.
	Observe Mode = "observe"
	// Enforce carries responses out.
	Enforce Mode = "enforce"
)

// Config is the server's configuration file.
type Config struct {
	// Mode is the default for all rules.
	Mode Mode `json:"mode"`
	// Rules overrides settings of single rules, by rule name.
	Rules map[string]RuleConfig `json:"rules,omitempty"`
	// ShippedRules loads the rules that come with the binary.
	ShippedRules *bool `json:"shippedRules,omitempty"`
	// RuleDirectories are folders of further rule files.
	RuleDirectories []string `json:"ruleDirectories,omitempty"`
	// ElasticRuleDirectories are folders of rules in the format of Elastic's
	// public rules, as they are.
	ElasticRuleDirectories []string `json:"elasticRuleDirectories,omitempty"`
	// Lateness is how long after its time an event may arrive and still be
	// joined. Event data older than the longest rule span plus this is let go.
	Lateness metav1.Duration `json:"lateness"`
	// MaxSpan is the longest time from the first to the last event of a sequence
	// whose rule names no maxspan.
	MaxSpan metav1.Duration `json:"maxSpan"`
	// DataDirectory is where the server keeps files.
	DataDirectory string `json:"dataDirectory"`
	// Store is what outlives the process, in DataDirectory.
	Store StoreConfig `json:"store"`
	// Namespace is the one the server runs in.
	Namespace string `json:"namespace"`

	Audit     AuditConfig     `json:"audit"`
	Collector CollectorConfig `json:"collector"`
	// TelemetryLog is where telemetry is written to, for replays.
	TelemetryLog TelemetryLogConfig `json:"telemetryLog"`
	Webhook      WebhookConfig      `json:"webhook"`
	// Gate says who is judged at admission, and how far rules may go.
	Gate    GateConfig   `json:"gate"`
	Metrics ListenConfig `json:"metrics"`
	Health  ListenConfig `json:"health"`
	PKI     PKIConfig    `json:"pki"`
	Notify  NotifyConfig `json:"notify"`
}

// RuleConfig overrides settings of one rule.
type RuleConfig struct {
	// Mode overrides Config.Mode.
	Mode Mode `json:"mode,omitempty"`
}

// StoreConfig configures what is kept on disk: the candidates of open sequences, the
// pods' history, and what was detected and done.
type StoreConfig struct {
	// Sync has the disk confirm every write before it is acknowledged, so that it
	// outlives the machine too, not only the process.
	Sync bool `json:"sync"`
	// MaxMegabytes bounds the store, BusMaxMegabytes the candidates in it. What does
	// not fit is refused: API servers and agents keep it and come again.
	MaxMegabytes    int `json:"maxMegabytes"`
	BusMaxMegabytes int `json:"busMaxMegabytes"`
	// Reserve is how much longer candidates are kept than any rule needs them.
	Reserve metav1.Duration `json:"reserve"`
}

// StoreRecordMegabytes is what the store needs besides the candidates.
const StoreRecordMegabytes = 640

// ListenConfig is an endpoint's address.
type ListenConfig struct {
	// Listen is host:port; an empty host means every address.
	Listen string `json:"listen"`
}

// AuditConfig configures the audit sink.
type AuditConfig struct {
	Listen string `json:"listen"`
	// CanaryPeriod is how often the server makes an audited request of its own
	// to measure the audit pipeline.
	CanaryPeriod metav1.Duration `json:"canaryPeriod"`
	// CanaryConfigMap is what the canary request gets.
	CanaryConfigMap string `json:"canaryConfigMap"`
	// MaxBodyMegabytes bounds what an API server may send at once. What is larger is lost.
	MaxBodyMegabytes int `json:"maxBodyMegabytes"`
}

// CollectorConfig configures the agents' endpoint.
type CollectorConfig struct {
	Listen string `json:"listen"`
	// ServiceAccount is the agents' service account in Config.Namespace.
	ServiceAccount string `json:"serviceAccount"`
}

// TelemetryLogConfig configures the log of what the agents report.
type TelemetryLogConfig struct {
	// Path is the file; empty means that none is written.
	Path string `json:"path,omitempty"`
	// MaxMegabytes is the size at which it is rotated, MaxFiles how many rotated
	// files are kept.
	MaxMegabytes int `json:"maxMegabytes"`
	MaxFiles     int `json:"maxFiles"`
}

// WebhookConfig configures the admission endpoint.
type WebhookConfig struct {
	Listen string `json:"listen"`
	// ConfigurationName is the ValidatingWebhookConfiguration that the server
	// writes its CA into.
	ConfigurationName string `json:"configurationName"`
	// ClientCAFile has the CAs that sign API servers' client certificates. If it is set, callers must show one; API
	// servers do where an AdmissionConfiguration tells them to.
	ClientCAFile string `json:"clientCAFile,omitempty"`
}

// PKIConfig names the objects that hold keys and certificates. All of them
// exist, empty at first, before the server starts.
type PKIConfig struct {
	ServingSecret string `json:"servingSecret"`
	SinkCASecret  string `json:"sinkCASecret"`
	// SinkTokensSecret has hashes of the tokens of API servers that show no certificate.
	SinkTokensSecret string `json:"sinkTokensSecret"`
	TrustConfigMap   string `json:"trustConfigMap"`
	// Service is the server's Service: its names and addresses go into the
	// serving certificate.
	Service string `json:"service"`
	// ExtraNames are further DNS names and IP addresses for the serving
	// certificate, such as a node port's or load balancer's.
	ExtraNames []string `json:"extraNames,omitempty"`
	// ServingFiles and SinkFiles are certificates that somebody else issues and renews, for the
	// webhook and the collector, and for the audit sink.
	ServingFiles CertificateFiles `json:"servingFiles,omitzero"`
	SinkFiles    CertificateFiles `json:"sinkFiles,omitzero"`
}

// CertificateFiles are a server certificate in files, which are read again when they change.
type CertificateFiles struct {
	// Certificate has the chain, Key its key.
	Certificate string `json:"certificate,omitempty"`
	Key         string `json:"key,omitempty"`
	// CA is what clients are told to trust; empty if somebody else tells them.
	CA string `json:"ca,omitempty"`
}

func (f CertificateFiles) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if f != (CertificateFiles{}) && (f.Certificate == "" || f.Key == "") {
		errs = append(errs, field.Required(path, "needs both a certificate and a key"))
	}
	for name, file := range map[string]string{"certificate": f.Certificate, "key": f.Key, "ca": f.CA} {
		if file != "" {
			errs = append(errs, absolute(path.Child(name), file)...)
		}
	}
	return errs
}

// NotifyConfig says where detections go.
type NotifyConfig struct {
	Stdout bool             `json:"stdout"`
	HTTP   NotifyHTTPConfig `json:"http"`
}

// NotifyHTTPConfig is one HTTP endpoint for detections; an empty URL means none.
type NotifyHTTPConfig struct {
	URL             string `json:"url,omitempty"`
	BearerTokenFile string `json:"bearerTokenFile,omitempty"`
	CAFile          string `json:"caFile,omitempty"`
}

// Default returns the configuration that an empty file means.
func Default() Config {
	shipped := true
	return Config{
		Mode:          Observe,
		ShippedRules:  &shipped,
		Lateness:      metav1.Duration{Duration: 2 * time.Minute},
		MaxSpan:       metav1.Duration{Duration: 10 * time.Minute},
		DataDirectory: "/var/lib/portcullis",
		Store: StoreConfig{
			MaxMegabytes: 2048, BusMaxMegabytes: 1024, Reserve: metav1.Duration{Duration: 3 * time.Minute},
		},
		Namespace: "portcullis",
		Audit: AuditConfig{
			Listen:          ":9443",
			CanaryPeriod:    metav1.Duration{Duration: 10 * time.Second},
			CanaryConfigMap: "portcullis-canary",
			// An API server with --audit-webhook-truncate-enabled sends 10 MiB at most.
			MaxBodyMegabytes: 16,
		},
		Collector:    CollectorConfig{Listen: ":8444", ServiceAccount: "portcullis-agent"},
		TelemetryLog: TelemetryLogConfig{MaxMegabytes: 100, MaxFiles: 5},
		Webhook:      WebhookConfig{Listen: ":8443", ConfigurationName: "portcullis"},
		Gate:         defaultGate(),
		Metrics:      ListenConfig{Listen: ":8080"},
		Health:       ListenConfig{Listen: ":8081"},
		//nolint:gosec // names of Secrets, not secrets
		PKI: PKIConfig{
			ServingSecret:    "portcullis-serving",
			SinkCASecret:     "portcullis-sink-ca",
			SinkTokensSecret: "portcullis-sink-tokens",
			TrustConfigMap:   "portcullis-trust",
			Service:          "portcullis",
		},
		Notify: NotifyConfig{Stdout: true},
	}
}

// maxFile bounds the configuration file: the largest sensible one is a few kilobytes.
const maxFile = 1 << 20

// Load reads and validates a configuration file. What the file leaves out has
// Default's value.
func Load(path string) (Config, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	if info.Size() > maxFile {
		return Config{}, fmt.Errorf("read configuration: %s has %d bytes, more than %d", path, info.Size(), maxFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	c, err := Parse(data)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Parse decodes and validates the text of a configuration file.
func Parse(data []byte) (Config, error) {
	c := Default()
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return Config{}, fmt.Errorf("decode configuration: %w", err)
	}
	if errs := c.validate(); len(errs) > 0 {
		// Sorted, so that the same mistakes always read the same.
		slices.SortFunc(errs, func(a, b *field.Error) int { return strings.Compare(a.Error(), b.Error()) })
		return Config{}, errors.Join(errs.ToAggregate().Errors()...)
	}
	return c, nil
}

// maxBodyMegabytes bounds the audit sink's bodies: two of them, each three times its size while it is
// decoded, have to fit into the memory of the server's pod.
const maxBodyMegabytes = 64

func (c *Config) validate() field.ErrorList {
	var errs field.ErrorList
	errs = append(errs, c.Mode.validate(field.NewPath("mode"))...)
	for name, r := range c.Rules {
		if r.Mode != "" {
			errs = append(errs, r.Mode.validate(field.NewPath("rules").Key(name).Child("mode"))...)
		}
	}
	for i, dir := range c.RuleDirectories {
		errs = append(errs, absolute(field.NewPath("ruleDirectories").Index(i), dir)...)
	}
	for i, dir := range c.ElasticRuleDirectories {
		errs = append(errs, absolute(field.NewPath("elasticRuleDirectories").Index(i), dir)...)
	}
	errs = append(errs, absolute(field.NewPath("dataDirectory"), c.DataDirectory)...)
	if c.Lateness.Duration < time.Second || c.Lateness.Duration > time.Hour {
		errs = append(errs, field.Invalid(field.NewPath("lateness"), c.Lateness.Duration.String(), "must be between 1s and 1h"))
	}
	if c.MaxSpan.Duration < time.Second || c.MaxSpan.Duration > 24*time.Hour {
		errs = append(errs, field.Invalid(field.NewPath("maxSpan"), c.MaxSpan.Duration.String(), "must be between 1s and 24h"))
	}
	if c.Audit.CanaryPeriod.Duration < time.Second {
		errs = append(errs, field.Invalid(field.NewPath("audit", "canaryPeriod"), c.Audit.CanaryPeriod.Duration.String(), "must be at least 1s"))
	}
	if n := c.Audit.MaxBodyMegabytes; n < 1 || n > maxBodyMegabytes {
		errs = append(errs, field.Invalid(field.NewPath("audit", "maxBodyMegabytes"), n, fmt.Sprintf("must be between 1 and %d", maxBodyMegabytes)))
	}
	errs = append(errs, c.Store.validate(field.NewPath("store"))...)
	errs = append(errs, c.TelemetryLog.validate(field.NewPath("telemetryLog"))...)
	errs = append(errs, c.Gate.validate(field.NewPath("gate"))...)
	errs = append(errs, c.PKI.ServingFiles.validate(field.NewPath("pki", "servingFiles"))...)
	errs = append(errs, c.PKI.SinkFiles.validate(field.NewPath("pki", "sinkFiles"))...)
	if c.Webhook.ClientCAFile != "" {
		errs = append(errs, absolute(field.NewPath("webhook", "clientCAFile"), c.Webhook.ClientCAFile)...)
	}
	errs = append(errs, c.validateAddresses()...)
	errs = append(errs, c.validateNames()...)
	return append(errs, c.Notify.HTTP.validate(field.NewPath("notify", "http"))...)
}

func (c *Config) validateAddresses() field.ErrorList {
	var errs field.ErrorList
	for path, address := range map[*field.Path]string{
		field.NewPath("audit", "listen"):     c.Audit.Listen,
		field.NewPath("collector", "listen"): c.Collector.Listen,
		field.NewPath("webhook", "listen"):   c.Webhook.Listen,
		field.NewPath("metrics", "listen"):   c.Metrics.Listen,
		field.NewPath("health", "listen"):    c.Health.Listen,
	} {
		if _, _, err := net.SplitHostPort(address); err != nil {
			errs = append(errs, field.Invalid(path, address, "must be host:port or :port"))
		}
	}
	return errs
}

func (c *Config) validateNames() field.ErrorList {
	var errs field.ErrorList
	for path, name := range map[*field.Path]string{
		field.NewPath("namespace"):                    c.Namespace,
		field.NewPath("audit", "canaryConfigMap"):     c.Audit.CanaryConfigMap,
		field.NewPath("collector", "serviceAccount"):  c.Collector.ServiceAccount,
		field.NewPath("webhook", "configurationName"): c.Webhook.ConfigurationName,
		field.NewPath("pki", "servingSecret"):         c.PKI.ServingSecret,
		field.NewPath("pki", "sinkCASecret"):          c.PKI.SinkCASecret,
		field.NewPath("pki", "sinkTokensSecret"):      c.PKI.SinkTokensSecret,
		field.NewPath("pki", "trustConfigMap"):        c.PKI.TrustConfigMap,
		field.NewPath("pki", "service"):               c.PKI.Service,
	} {
		for _, msg := range validation.IsDNS1123Subdomain(name) {
			errs = append(errs, field.Invalid(path, name, msg))
		}
	}
	for i, name := range c.PKI.ExtraNames {
		if net.ParseIP(name) == nil && len(validation.IsDNS1123Subdomain(name)) > 0 {
			errs = append(errs, field.Invalid(field.NewPath("pki", "extraNames").Index(i), name, "must be an IP address or a DNS name"))
		}
	}
	return errs
}

func (m Mode) validate(path *field.Path) field.ErrorList {
	if m == Observe || m == Enforce {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, m, []Mode{Observe, Enforce})}
}

func (n NotifyHTTPConfig) validate(path *field.Path) field.ErrorList {
	if n.URL == "" {
		if n.BearerTokenFile != "" || n.CAFile != "" {
			return field.ErrorList{field.Required(path.Child("url"), "bearerTokenFile and caFile are of no use without it")}
		}
		return nil
	}
	u, err := url.Parse(n.URL)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return field.ErrorList{field.Invalid(path.Child("url"), n.URL, "must be an http or https URL")}
	}
	if u.Scheme == "http" && n.BearerTokenFile != "" {
		return field.ErrorList{field.Invalid(path.Child("url"), n.URL, "must be https where a bearer token is sent")}
	}
	return nil
}

func (s StoreConfig) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.BusMaxMegabytes < 16 {
		errs = append(errs, field.Invalid(path.Child("busMaxMegabytes"), s.BusMaxMegabytes, "must be at least 16"))
	}
	if least := s.BusMaxMegabytes + StoreRecordMegabytes; s.MaxMegabytes < least {
		errs = append(errs, field.Invalid(path.Child("maxMegabytes"), s.MaxMegabytes,
			fmt.Sprintf("must be at least %d: busMaxMegabytes, and %d for records", least, StoreRecordMegabytes)))
	}
	if s.Reserve.Duration < 0 || s.Reserve.Duration > 24*time.Hour {
		errs = append(errs, field.Invalid(path.Child("reserve"), s.Reserve.Duration.String(), "must be between 0s and 24h"))
	}
	return errs
}

func (t TelemetryLogConfig) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t.Path != "" {
		errs = append(errs, absolute(path.Child("path"), t.Path)...)
	}
	for name, n := range map[string]int{"maxMegabytes": t.MaxMegabytes, "maxFiles": t.MaxFiles} {
		if n < 1 {
			errs = append(errs, field.Invalid(path.Child(name), n, "must be at least 1"))
		}
	}
	return errs
}

func absolute(path *field.Path, dir string) field.ErrorList {
	if filepath.IsAbs(dir) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, dir, "must be an absolute path")}
}
