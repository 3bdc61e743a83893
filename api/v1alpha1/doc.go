// Package v1alpha1 holds the Kubernetes API types of the group portcullis.dev:
// the Quarantine, which denies its subject's exec-like requests while it exists.
//
// Deep copies and the CRD under config/crd are generated from these types
// (make generate).
//
// +kubebuilder:object:generate=true
// +groupName=portcullis.dev
package v1alpha1
