// Package field knows which Go field of an event a rule means by a name such as
// process.args or kubernetes.audit.objectRef.resource.
//
// A Schema is the table of names, given to the language's compiler; a Record is
// one event as a compiled rule reads it. A row of the table points at the Go
// field once, for reading and for setting: an event can be written as a document
// and made of one again (Schema.Document and Schema.Event), which is what
// recordings and rules' unit tests are. The page docs/reference/fields.md is
// generated from the table.
//
// Names follow the Elastic Common Schema and Elastic's Kubernetes integration,
// so that rules written for those run unchanged.
//
// # Pod references
//
// orchestrator.resource.name is the pod in which something happened, and
// kubernetes.audit.user.extra.authentication.kubernetes.io/pod-name the pod
// whose token made a request. Rules join the two by name. They are references:
// they read as the name and join by the pod's identity (event.Pod.Key), so
// equal names in other namespaces, or a later pod of the same name, do not
// join. The names may be unknown while the identity is known, and still join.
//
// # Names that only rules know
//
// Below kubernetes.audit.annotations, user.extra, requestObject and
// responseObject any name is a field, made when a rule first asks for it. Dots
// in annotation keys may be written as underscores (as Elastic stores them:
// authorization_k8s_io/decision). Paths into objects walk through arrays, so
// requestObject.spec.containers.image is the images of all containers. The
// objects are parsed only for rules that ask, once per event, up to a size.
//
// # Missing
//
// What an event does not have is missing, and so is an empty text: no source
// of ours distinguishes the two.
package field
