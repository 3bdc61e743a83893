// Package enforcement decides whether what a rule asks for is carried out, or only told.
//
// # Modes
//
// A response is carried out in the mode enforce and told in the mode observe. Of those who may set the
// mode the first that does decides:
//
//  1. the configuration, for the rule,
//  2. the rule's file,
//  3. the label portcullis.dev/mode of the namespace that the detection's pod is in,
//  4. the configuration, for all.
//
// With one exception: in a namespace labelled observe nothing is ever enforced. A label
// with any other text than the two modes counts as observe: somebody wanted to say something,
// and to deny people access because of a slip of the pen would be the worse way to misunderstand.
// A namespace that nobody knows (yet) has no label.
//
// # Who is protected
//
// Rules are written in advance and make mistakes. So no rule puts those into quarantine without whom a
// cluster cannot be repaired: pods and service accounts of protected namespaces (kube-system), those
// namespaces, kubelets and the control plane's own users, and members of the break-glass groups. People can, by hand.
//
// # The breaker
//
// A rule that suddenly fires everywhere is more likely wrong than right. Only so many new quarantines
// are made per hour by one rule, and by all together; beyond that a rule observes and
// the operator is told, loudly. A detection of somebody who is in quarantine already makes no new one, and
// is not counted. The hour is a rolling one. After a restart it is filled from the record.
package enforcement
