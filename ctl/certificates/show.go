package certificates

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/portcullis-dev/portcullis/ctl/output"
	"github.com/portcullis-dev/portcullis/pki"
)

// The names of what is shown.
const (
	servingCA          = "serving CA"
	servingCertificate = "serving certificate"
	sinkCA             = "sink CA"
	sinkCertificate    = "sink certificate"
)

// The states of server certificates; those of authorities are their roles.
const (
	shown   = "shown"
	foreign = "external"
)

// certificate is one, as programs get it.
type certificate struct {
	Name      string    `json:"name"`
	State     string    `json:"state"`
	Subject   string    `json:"subject,omitempty"`
	Names     []string  `json:"names,omitempty"`
	SHA256    string    `json:"sha256,omitempty"`
	NotBefore time.Time `json:"notBefore,omitzero"`
	NotAfter  time.Time `json:"notAfter,omitzero"`
	// Since is when it got its state, Changes when the server changes that.
	Since   time.Time `json:"since,omitzero"`
	Changes time.Time `json:"changes,omitzero"`
}

// listing is the document of all.
type listing struct {
	Namespace    string        `json:"namespace"`
	Certificates []certificate `json:"certificates"`
}

func showCommand(o Options) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use:   "show",
		Short: "Show certificates and authorities, when they end, and how far a replacement is",
		Long: "Shows the certificates of the webhook and the agents' endpoint (serving) and of the audit\n" +
			"sink, and the authorities that are trusted. API servers' client certificates are kept\n" +
			"nowhere but on their hosts.\n\n" +
			"You need to be allowed to get the Secrets of Portcullis' namespace. No key is shown.",
		Example: `  portcullisctl certificates show
  portcullisctl certificates show -o wide
  portcullisctl certs show -o json | jq '.certificates[] | {name, notAfter}'`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			return o.with(c.Context(), func(ctx context.Context, s *site) error {
				found, failed := s.list(ctx)
				if len(found) == 0 && failed != nil {
					return failed
				}
				return errors.Join(o.show(listing{s.namespace, found}, format), failed)
			})
		},
	}
	output.AddFlagOf(c, &format, output.JSON, output.YAML, output.Wide)
	return c
}

// list is all that could be read; the error tells of the rest.
func (s *site) list(ctx context.Context) ([]certificate, error) {
	found := []certificate{}
	var errs []error
	if s.foreignServing() {
		found = append(found, certificate{Name: servingCertificate, State: foreign})
	} else {
		state, err := s.store.ServingState(ctx)
		if err != nil {
			errs = append(errs, s.explain("read the "+servingCA, err))
		}
		found = append(append(found, authorities(servingCA, state)...), leaf(servingCertificate, state)...)
	}
	state, err := s.store.SinkState(ctx)
	if err != nil {
		errs = append(errs, s.explain("read the "+sinkCA, err))
	}
	found = append(found, authorities(sinkCA, state)...)
	if s.foreignSink() {
		return append(found, certificate{Name: sinkCertificate, State: foreign}), errors.Join(errs...)
	}
	return append(found, leaf(sinkCertificate, state)...), errors.Join(errs...)
}

func authorities(name string, state pki.State) (found []certificate) {
	for _, a := range state.Authorities {
		c := describe(name, string(a.Role), a.Certificate)
		c.Since, c.Changes = a.Since, a.Changes
		found = append(found, c)
	}
	return found
}

func leaf(name string, state pki.State) []certificate {
	if state.Certificate == nil {
		return nil
	}
	c := describe(name, shown, state.Certificate)
	c.Changes = state.Renewal
	return []certificate{c}
}

func describe(name, state string, cert *x509.Certificate) certificate {
	sum := sha256.Sum256(cert.Raw)
	return certificate{
		Name: name, State: state, Subject: cert.Subject.String(), Names: append(cert.DNSNames, texts(cert.IPAddresses)...),
		SHA256: hex.EncodeToString(sum[:]), NotBefore: cert.NotBefore, NotAfter: cert.NotAfter,
	}
}

func texts(addresses []net.IP) (found []string) {
	for _, a := range addresses {
		found = append(found, a.String())
	}
	return found
}

func (o Options) show(l listing, format output.Format) error {
	if !format.IsTable() {
		return output.Value(o.Streams.Out, format, l)
	}
	now := o.Now()
	rows := make([][]string, 0, len(l.Certificates))
	for _, c := range l.Certificates {
		rows = append(rows, []string{
			c.Name, dash(c.Subject), relative(c.NotBefore, now), relative(c.NotAfter, now), c.says(now), dash(c.SHA256), dash(strings.Join(c.Names, ",")),
		})
	}
	return output.NewRows(o.Streams.Out, format,
		output.Column{Name: "Certificate"}, output.Column{Name: "Subject"}, output.Column{Name: "Not before"}, output.Column{Name: "Not after"},
		output.Column{Name: "State"}, output.Column{Name: "SHA-256", Wide: true}, output.Column{Name: "Names", Wide: true}).Print(rows...)
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// relative is a time as seen from now.
func relative(t, now time.Time) string {
	switch {
	case t.IsZero():
		return "-"
	case t.After(now):
		return "in " + duration.HumanDuration(t.Sub(now))
	default:
		return duration.HumanDuration(now.Sub(t)) + " ago"
	}
}

// says is the state for people.
func (c certificate) says(now time.Time) string {
	text := c.role(now)
	switch {
	case c.State == foreign:
	case !now.Before(c.NotAfter):
		return "EXPIRED; " + text
	case now.Before(c.NotBefore):
		return "not valid yet; " + text
	}
	return text
}

func (c certificate) role(now time.Time) string {
	switch pki.Role(c.State) {
	case foreign:
		return "somebody else's, who renews it"
	case shown:
		return "shown; renewed " + soon(c.Changes, now)
	case pki.RoleNext:
		if c.Name == sinkCA {
			return "trusted " + lasting(c.Since, now) + "; signs after portcullisctl certificates rotate sink finish"
		}
		return "trusted " + lasting(c.Since, now) + "; signs " + soon(c.Changes, now)
	case pki.RoleRetired:
		return "signs no more; trusted no more " + soon(c.Changes, now)
	case pki.RoleSigns:
		return c.signs(now)
	default:
		return "trusted, does not sign"
	}
}

func (c certificate) signs(now time.Time) string {
	switch third := c.NotAfter.Sub(c.NotBefore) / 3; {
	case !c.Changes.IsZero():
		return "signs; replaced by the server " + soon(c.Changes, now)
	case c.Name == sinkCA && now.Add(third).After(c.NotAfter):
		return "signs; replace it before it ends: portcullisctl certificates rotate sink begin"
	default:
		return "signs"
	}
}

// soon is when the server takes a step: at its next check if it is time.
func soon(t, now time.Time) string {
	if !t.After(now) {
		return "at the server's next check"
	}
	return relative(t, now)
}

// lasting is for how long something has been so.
func lasting(t, now time.Time) string {
	if t.IsZero() {
		return "for a time that is not known"
	}
	return "for " + duration.HumanDuration(max(0, now.Sub(t)))
}
