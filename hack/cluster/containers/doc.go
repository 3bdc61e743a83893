// Package containers talks to the cluster's containerd through its own client
// program, ctr.
package containers
