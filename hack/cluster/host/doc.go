// Package host answers what the machine has to offer to the test cluster, and
// installs the Debian packages that it lacks.
package host
