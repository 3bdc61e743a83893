// Package auditconfig is "portcullisctl audit config": it makes the files with
// which one API server sends its audit stream to Portcullis, and says how to
// use them.
//
// API servers read their audit settings from files on their own host, which no
// chart reaches: an audit policy, and a kubeconfig that says where the sink is
// and how both sides prove who they are. Each API server gets a path and a
// client certificate of its own, since audit events do not say which API server
// they come from. Where it cannot use a client certificate it gets a token.
//
// The kubeconfig names the sink by an IP address, because API servers do not
// resolve cluster DNS, and verifies its certificate by the Service's DNS name,
// so that it does not matter by which address it is reached. Certificates and
// keys are files beside it and not embedded: the API server reads files again
// when they change, so that neither a new certificate nor a new authority needs
// a restart.
package auditconfig
