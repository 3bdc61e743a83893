package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/portcullis-dev/portcullis/hack/cluster/layout"
)

const (
	storageClass   = "standard"
	volumeCount    = 4
	volumeSize     = "10Gi"
	volumeLabel    = "portcullis.dev/test-volume"
	volumesPath    = "/api/v1/persistentvolumes"
	volumeInterval = 2 * time.Second
)

// volumes are the cluster's persistent volumes: directories of the state
// directory, bound when a claim's first pod is scheduled. They are of the
// "local" kind because, unlike hostPath, that honours a pod's fsGroup as a
// real disk does.
type volumes struct {
	api    *kubeAPI
	dir    string
	logger *slog.Logger
}

// create makes the default storage class and the volumes.
func (v *volumes) create(ctx context.Context) error {
	class := object{
		"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
		"metadata": object{
			"name":        storageClass,
			"annotations": object{"storageclass.kubernetes.io/is-default-class": "true"},
		},
		"provisioner":       "kubernetes.io/no-provisioner",
		"volumeBindingMode": "WaitForFirstConsumer",
	}
	if err := v.api.create(ctx, "/apis/storage.k8s.io/v1/storageclasses", class); err != nil {
		return fmt.Errorf("create storage class: %w", err)
	}
	for i := range volumeCount {
		if err := v.createOne(ctx, fmt.Sprintf("volume-%d", i+1)); err != nil {
			return err
		}
	}
	return nil
}

type object = map[string]any

// createOne makes an empty directory and its PersistentVolume.
func (v *volumes) createOne(ctx context.Context, name string) error {
	dir := filepath.Join(v.dir, name)
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("create volume %s: %w", name, err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // a fresh disk's root is like this
		return fmt.Errorf("create volume %s: %w", name, err)
	}
	onThisNode := object{"key": "kubernetes.io/hostname", "operator": "In", "values": []string{layout.NodeName}}
	volume := object{
		"apiVersion": "v1", "kind": "PersistentVolume",
		"metadata": object{"name": name, "labels": object{volumeLabel: "true"}},
		"spec": object{
			"capacity":                      object{"storage": volumeSize},
			"accessModes":                   []string{"ReadWriteOnce"},
			"persistentVolumeReclaimPolicy": "Retain",
			"storageClassName":              storageClass,
			"local":                         object{"path": dir},
			"nodeAffinity": object{"required": object{"nodeSelectorTerms": []object{
				{"matchExpressions": []object{onThisNode}},
			}}},
		},
	}
	if err := v.api.create(ctx, volumesPath, volume); err != nil {
		return fmt.Errorf("create volume %s: %w", name, err)
	}
	return nil
}

// run gives released volumes back, empty, until ctx ends. Without it a second
// installation of the same chart would find no volume: a released one stays
// bound to the claim that is gone.
func (v *volumes) run(ctx context.Context) {
	ticker := time.NewTicker(volumeInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			// The API server may be away: it is restarted on purpose.
			if err := v.recycle(ctx); err != nil && ctx.Err() == nil {
				v.logger.Debug("volumes are not recycled now", "err", err)
			}
		}
	}
}

func (v *volumes) recycle(ctx context.Context) error {
	var list struct {
		Items []struct {
			Metadata struct{ Name, DeletionTimestamp string }
			Status   struct{ Phase string }
		}
	}
	if err := v.api.get(ctx, volumesPath+"?labelSelector="+volumeLabel, &list); err != nil {
		return err
	}
	known := map[string]bool{}
	for _, item := range list.Items {
		known[item.Metadata.Name] = true
		if item.Status.Phase == "Released" && item.Metadata.DeletionTimestamp == "" {
			if err := v.api.remove(ctx, volumesPath+"/"+item.Metadata.Name); err != nil {
				return err
			}
			v.logger.Info("volume is released and will be made anew", "volume", item.Metadata.Name)
		}
	}
	var failed []error
	for i := range volumeCount {
		if name := fmt.Sprintf("volume-%d", i+1); !known[name] {
			failed = append(failed, v.createOne(ctx, name))
		}
	}
	return errors.Join(failed...)
}
