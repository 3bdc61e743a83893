// Package supervisor is the background process that owns the test cluster's
// daemons.
//
// It is started in a mount and a network namespace of its own. The daemons are
// its children and die with it (the kernel kills them when it ends, however it
// ends); containers do not, and are found by their cgroup. The process
// namespace stays the machine's, so that the process ids in an agent's telemetry
// are those that ps shows.
//
// What the daemons would change for the whole machine is covered up in the
// mount namespace, so that there is nothing to put back after a crash:
//
//   - /run is an empty tmpfs: containerd's sockets and the pods' network
//     namespaces are in it, and vanish with the last process;
//   - /var/log and /var/lib/cni are directories of the state directory;
//   - the kernel settings that the kubelet insists on are plain files with the
//     values that it wants.
//
// [Run] is the whole life: mounts, network, daemons in order, then waiting;
// each milestone is reported to the process that started it. [Client] asks
// a running supervisor for its status or for a restart of the API server.
package supervisor
