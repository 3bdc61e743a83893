// Package config holds what a deployment is made of: the server's
// configuration file (Config), and the defaults that the binaries carry with
// them (the shipped rules, the custom resource definitions).
//
// The configuration is decoded strictly: an unknown key is an error, and every
// mistake is reported at once with its path, because a server that guards
// something must not start with a setting that it did not understand.
package config
