package pki

import (
	"bytes"
	"context"
	"net"

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

// injectTrust writes the bundle into every webhook of a
// ValidatingWebhookConfiguration. It reports whether it had to.
func injectTrust(ctx context.Context, c Client, name string, trust Bundle) (wrote bool, err error) {
	key := client.ObjectKey{Name: name}
	err = edit(ctx, c, "ValidatingWebhookConfiguration", key, func(config *admissionv1.ValidatingWebhookConfiguration) (bool, error) {
		text := trust.PEM()
		wrote = false
		for i := range config.Webhooks {
			cc := &config.Webhooks[i].ClientConfig
			wrote = wrote || !bytes.Equal(cc.CABundle, text)
			cc.CABundle = text
		}
		return wrote, nil
	})
	return wrote && err == nil, err
}

// canonicalName writes an IP address in its one usual form and leaves DNS names alone.
func canonicalName(name string) string {
	if ip := net.ParseIP(name); ip != nil {
		return ip.String()
	}
	return name
}
