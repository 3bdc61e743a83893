// Package pki issues what the test cluster authenticates with: one certificate
// authority, the daemons' certificates, and kubeconfigs for people.
//
// The authority's key lies unencrypted in the state directory, where only root
// reads it. That is right for a cluster that lives for an afternoon on one
// machine, and for nothing else.
package pki
