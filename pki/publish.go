package pki

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// publishTrust writes the bundle into the ConfigMap that agents mount. It
// reports whether it had to: other keys of the ConfigMap are left alone.
func publishTrust(ctx context.Context, c Client, namespace, name string, trust Bundle) (wrote bool, err error) {
	key := client.ObjectKey{Namespace: namespace, Name: name}
	err = edit(ctx, c, "ConfigMap", key, func(cm *corev1.ConfigMap) (bool, error) {
		text := string(trust.PEM())
		wrote = cm.Data[KeyCACertificate] != text
		if cm.Data == nil {
			cm.Data = make(map[string]string)
		}
		cm.Data[KeyCACertificate] = text
		return wrote, nil
	})
	return wrote && err == nil, err
}

// tellAPIServers writes the bundle and the path into every webhook of a
// ValidatingWebhookConfiguration; an empty one of them is left as it is. It reports whether it had to.
func tellAPIServers(ctx context.Context, c Client, name string, trust Bundle, path string) (wrote bool, err error) {
	key := client.ObjectKey{Name: name}
	err = edit(ctx, c, "ValidatingWebhookConfiguration", key, func(config *admissionv1.ValidatingWebhookConfiguration) (bool, error) {
		wrote = false
		for i := range config.Webhooks {
			cc := &config.Webhooks[i].ClientConfig
			if text := trust.PEM(); len(trust) > 0 && !bytes.Equal(cc.CABundle, text) {
				cc.CABundle, wrote = text, true
			}
			changed, failed := setPath(cc, path)
			if failed != nil {
				return false, fmt.Errorf("webhook %s: %w", config.Webhooks[i].Name, failed)
			}
			wrote = wrote || changed
		}
		return wrote, nil
	})
	return wrote && err == nil, err
}

// setPath sets the path of a service, or of a URL for an API server outside of the cluster.
func setPath(cc *admissionv1.WebhookClientConfig, path string) (changed bool, err error) {
	switch {
	case path == "":
	case cc.Service != nil:
		changed = cc.Service.Path == nil || *cc.Service.Path != path
		cc.Service.Path = &path
	case cc.URL != nil:
		u, err := url.Parse(*cc.URL)
		if err != nil {
			return false, errors.New("its URL cannot be read") // it may have a secret in it
		}
		changed = u.Path != path
		u.Path, u.RawPath = path, ""
		text := u.String()
		cc.URL = &text
	}
	return changed, nil
}

// canonicalName writes an IP address in its one usual form and leaves DNS names alone.
func canonicalName(name string) string {
	if ip := net.ParseIP(name); ip != nil {
		return ip.String()
	}
	return name
}
