// Package pki makes, keeps and renews the keys and certificates of Portcullis'
// endpoints.
//
// # Two authorities
//
// The serving CA signs one server certificate, which the webhook, the collector and
// the metrics show. Whoever calls them has to trust it: API servers by
// the caBundle of the ValidatingWebhookConfiguration, agents by the ConfigMap that the trust is
// published in. Both are written by the server, so that this CA can be replaced by itself.
//
// The sink CA signs what the audit sink and API servers show each other: the sink's certificate, and
// the client certificates by which API servers prove
// who they are (common name "apiserver:<name>"). Both sides of that are files on
// control plane hosts, renewed by people: so that CA is a separate one that lives long, and
// renewing the other never touches it.
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
//	serving Secret   ca.crt ca.key tls.crt tls.key admission-paths
//	sink CA Secret   ca.crt ca.key tls.crt tls.key
//	tokens Secret    one key for each API server that has tokens: their hashes and ends
//
// and, while a CA is being replaced, next-ca.crt, next-ca.key and rotation. ca.crt is a bundle: it may hold more certificates
// than the one that ca.key
// belongs to, and all of them are trusted. What somebody has put there stays there: only what this package has replaced
// is taken out.
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
// # Replacing
//
// Nobody may be locked out while something is replaced: not by a replica that does not know the new one yet, and not because an API
// server still has the old one. Everything therefore overlaps (StoreOptions.Overlap, an hour):
//
//   - The server certificate is issued anew at two thirds of its lifetime. Old and new are of the same CA.
//   - A CA is replaced in three steps: the next one is trusted; after the overlap it signs; after another the
//     old one is trusted no more.
//   - The path under which API servers ask the webhook is a secret that they are told by the webhook's configuration (an API server shows
//     no certificate to a webhook by default). A new one is good at
//     once; API servers are told of it after the overlap, and the old one ends after another.
//
// A step that takes something away comes only after it was seen that everybody is told what replaces it.
//
// The sink CA is replaced by people, with "portcullisctl certificates": BeginSinkCA has both trusted, then the file of CAs is replaced on all
// control plane hosts, and FinishSinkCA has the next one sign. An API server of Kubernetes 1.36 or later reads that file again every five minutes;
// an earlier one has to be started again for it, and none ever reads embedded CA data again. Client certificates and keys are
// read again by all of them.
//
// # The user's own
//
// Files are certificates that somebody else issues, such as cert-manager. They are read again at every check.
//
// A Manager keeps all that true while the server runs: it renews in time,
// publishes trust and path, and repairs what somebody took away.
//
// # Keys
//
// Keys are ECDSA P-256 in PKCS #8. Types that hold one print and log as what they
// are for, never as what they contain.
package pki
