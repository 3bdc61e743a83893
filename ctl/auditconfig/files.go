package auditconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The files, as the instructions and the documentation name them.
const (
	policyFile      = "audit-policy.yaml"
	kubeconfigFile  = "audit-webhook.kubeconfig"
	caFile          = "ca.crt"
	certificateFile = "client.crt"
	keyFile         = "client.key"
	tokenFile       = "client.token"
)

// directory is where the files are written.
type directory string

func (d directory) path(name string) string { return filepath.Join(string(d), name) }

// checkEmpty fails if one of the files is there already.
func (d directory) checkEmpty(a auth) error {
	var exist []string
	for _, name := range append([]string{policyFile, kubeconfigFile, caFile}, a.files()...) {
		_, err := os.Lstat(d.path(name))
		if err == nil {
			exist = append(exist, name)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look into the output directory: %w", err)
		}
	}
	if len(exist) > 0 {
		return fmt.Errorf("%s has %s already: --force overwrites", d, strings.Join(exist, ", "))
	}
	return nil
}

// write writes the files, each replaced in one step: an API server that reads
// them while they are renewed finds the old or the new one, never half of one.
// The certificate comes after its key and before what refers to it.
func (d directory) write(b bundle) error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("make the output directory: %w", err)
	}
	if err := b.proof.write(d); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		text []byte
		mode fs.FileMode
	}{
		{caFile, b.trust.PEM(), 0o644},
		{policyFile, b.policy, 0o644},
		{kubeconfigFile, b.kubeconfig, 0o600},
	} {
		if err := replace(d.path(f.name), f.text, f.mode); err != nil {
			return fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	return nil
}

func replace(path string, text []byte, mode fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".portcullis-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already where the rename succeeded
	_, err = tmp.Write(text)
	if err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
