// Package pki makes, keeps and renews the keys and certificates of Portcullis'
// endpoints.
//
// # Two authorities
//
// The serving CA signs one server certificate, which the webhook, the audit sink
// and the collector all show. Whoever calls them has to trust it: API servers by
// the caBundle of the ValidatingWebhookConfiguration and by the sink's
// kubeconfig, agents by the ConfigMap that the trust is published in.
//
// The sink CA signs the client certificates by which API servers prove to the
// audit sink who they are (common name "apiserver:<name>"). They are files on
// control plane hosts, renewed by people: so that CA is a separate one, and
// renewing the server's certificate never touches it.
//
// Where a client certificate cannot be used, an API server can have a token instead. A
// token is random, is written to the API server's host and nowhere else, and has an end. Of it
// the server knows a hash, which is of no use to whoever reads it.
//
// # Where things are kept
//
// Both live in Secrets of the release namespace, so that every replica shows the
// same certificate and a restart changes nothing. The Secrets exist before the
// server starts, empty: Portcullis may get and update these objects by name (the
// tokens only get) and needs no right to create Secrets. Data keys are
//
//	serving Secret   ca.crt ca.key tls.crt tls.key
//	sink CA Secret   ca.crt ca.key
//	tokens Secret    one key for each API server that has tokens: their hashes and ends
//
// ca.crt is a bundle: it may hold more certificates than the one that ca.key
// belongs to, and all of them are trusted. Nothing here takes a certificate out
// of a bundle, so that an older authority can be kept while a newer one signs.
//
// A Store reads and writes the Secrets; writers that collide read again, so that
// of two replicas that start together one makes the CA and the other uses it. An
// authority that cannot be read is an error and is never replaced: a new one
// would lock out every API server whose certificate the old one signed. A server
// certificate that cannot be read is simply issued again.
//
// What was made while a clock was ahead is not valid yet, for who has the right
// time. A server certificate is then issued again. An authority keeps its key and
// its name and gets another certificate beside the old one, so that nobody is
// locked out: not who trusts the old one, once it is valid, and not who has
// something that the authority has signed.
//
// A Manager keeps all that true while the server runs: it renews in time,
// publishes the trust, and repairs what somebody took away.
//
// # Keys
//
// Keys are ECDSA P-256 in PKCS #8. Types that hold one print and log as what they
// are for, never as what they contain.
package pki
