// Package harness brings up a real Kubernetes, installs Portcullis on it the
// way its users do (helm install, portcullisctl audit config, the API server's
// flags, a restart), and acts on it through the real kubectl. The demo and the
// end-to-end test are written with it.
//
// It starts commands and looks at what they print; it links nothing of the
// server.
package harness
