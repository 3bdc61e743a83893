// Package layout says where everything of the test cluster is: its files
// below one state directory, its addresses, and the few names that it has to
// put where the whole machine can see them.
//
// Those names are constants, not settings, so that a tear-down finds what an
// earlier run left even when that run's records are gone.
package layout
