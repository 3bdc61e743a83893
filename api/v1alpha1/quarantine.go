package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Quarantine denies its subject's exec-like requests while it exists. Portcullis
// makes one when an enforcing rule fires; people may make one by hand. Deleting
// it releases the subject.
//
// Portcullis names those that it makes after the subject: pod-<uid>,
// serviceaccount-<namespace>.<name>, node-<name>, namespace-<name>, and user-, group- and
// credential- with a hash of the name. Nobody may give such a name to another
// kind of subject, or one that spells its subject out to another subject; name those that
// you make by hand otherwise.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.startsWith('pod-') || (self.spec.subject.kind == 'Pod' && has(self.spec.subject.uid) && self.metadata.name == 'pod-' + self.spec.subject.uid)",message="a name that starts with pod- must be pod-<uid of the subject>, which must be a Pod: choose another name",fieldPath=".spec.subject"
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.startsWith('user-') || self.spec.subject.kind == 'User'",message="a name that starts with user- is for a User subject: choose another name",fieldPath=".spec.subject"
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.startsWith('group-') || self.spec.subject.kind == 'Group'",message="a name that starts with group- is for a Group subject: choose another name",fieldPath=".spec.subject"
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.startsWith('credential-') || self.spec.subject.kind == 'Credential'",message="a name that starts with credential- is for a Credential subject: choose another name",fieldPath=".spec.subject"
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.startsWith('serviceaccount-') || (self.spec.subject.kind == 'ServiceAccount' && has(self.spec.subject.__namespace__) && self.metadata.name == 'serviceaccount-' + self.spec.subject.__namespace__ + '.' + self.spec.subject.name)",message="a name that starts with serviceaccount- must be serviceaccount-<namespace>.<name of the subject>, which must be a ServiceAccount: choose another name",fieldPath=".spec.subject"
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.startsWith('node-') || (self.spec.subject.kind == 'Node' && self.metadata.name == 'node-' + self.spec.subject.name)",message="a name that starts with node- must be node-<name of the subject>, which must be a Node: choose another name",fieldPath=".spec.subject"
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.startsWith('namespace-') || (self.spec.subject.kind == 'Namespace' && self.metadata.name == 'namespace-' + self.spec.subject.name)",message="a name that starts with namespace- must be namespace-<name of the subject>, which must be a Namespace: choose another name",fieldPath=".spec.subject"
// +kubebuilder:resource:scope=Cluster,shortName=quar,categories=portcullis
// +kubebuilder:printcolumn:name="Subject",type=string,JSONPath=`.spec.subject.kind`
// +kubebuilder:printcolumn:name="Namespace",type=string,JSONPath=`.spec.subject.namespace`
// +kubebuilder:printcolumn:name="Name",type=string,JSONPath=`.spec.subject.name`
// +kubebuilder:printcolumn:name="Enforced",type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`,description="whether Portcullis has it in force"
// +kubebuilder:printcolumn:name="Rule",type=string,JSONPath=`.spec.detection.rule`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.spec.reason`
// +kubebuilder:printcolumn:name="Operations",type=string,priority=1,JSONPath=`.spec.operations`,description="what is denied; all operations if empty"
// +kubebuilder:printcolumn:name="Detection",type=string,priority=1,JSONPath=`.spec.detection.id`
// +kubebuilder:printcolumn:name="Node",type=string,priority=1,JSONPath=`.status.nodeName`,description="where the pod runs"
// +kubebuilder:printcolumn:name="Expires",type=date,JSONPath=`.spec.expiresAt`,description="when it ends by itself"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Quarantine struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec QuarantineSpec `json:"spec"`
	// status is what Portcullis says of it. It is for people and for the policy in the API server:
	// the quarantine is in force without it.
	// +optional
	Status QuarantineStatus `json:"status,omitzero"`
}

// QuarantineSpec says who is denied what, why, and until when.
type QuarantineSpec struct {
	// subject is who is denied. It cannot be changed: another subject is another Quarantine.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the subject cannot be changed, make another Quarantine"
	Subject Subject `json:"subject"`
	// operations are what is denied; all of them if it is absent or empty.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=5
	Operations []Operation `json:"operations,omitempty"`
	// reason is shown to the person who is denied.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason"`
	// detection is what caused it; absent for those that people made.
	// +optional
	Detection *DetectionRef `json:"detection,omitempty"`
	// expiresAt is when it ends by itself; absent for never.
	// +optional
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`
}

// Operation is what a request does, by the subresource that is made for it. The
// ways around that subresource count as well: what is done through nodes/proxy is judged by
// what the kubelet's path does there.
// +kubebuilder:validation:Enum=exec;attach;portforward;ephemeralcontainers;proxy
type Operation string

// The operations.
const (
	// OperationExec runs a command in a container.
	OperationExec Operation = "exec"
	// OperationAttach joins the main process of a container.
	OperationAttach Operation = "attach"
	// OperationPortForward opens connections to a pod's ports.
	OperationPortForward Operation = "portforward"
	// OperationEphemeralContainers adds a container to a running pod, as kubectl debug does.
	OperationEphemeralContainers Operation = "ephemeralcontainers"
	// OperationProxy sends an HTTP request to a pod, a service, or a node's kubelet.
	OperationProxy Operation = "proxy"
)

// SubjectKind is the kind of a quarantine's subject.
// +kubebuilder:validation:Enum=Pod;User;Group;ServiceAccount;Credential;Node;Namespace
type SubjectKind string

// The kinds of subjects.
const (
	// SubjectPod denies requests into one pod, named by its UID, those that are made with its
	// token, and those that run something through the kubelet of its node.
	SubjectPod SubjectKind = "Pod"
	// SubjectUser denies the requests of one user.
	SubjectUser SubjectKind = "User"
	// SubjectGroup denies the requests of a group's members.
	SubjectGroup SubjectKind = "Group"
	// SubjectServiceAccount denies the requests of one service account.
	SubjectServiceAccount SubjectKind = "ServiceAccount"
	// SubjectCredential denies requests with one token or client certificate, named by its
	// credential-id (such as one that begins with JTI=).
	SubjectCredential SubjectKind = "Credential"
	// SubjectNode denies requests into any pod of one node, and to its kubelet.
	SubjectNode SubjectKind = "Node"
	// SubjectNamespace denies requests into the pods and services of one namespace.
	SubjectNamespace SubjectKind = "Namespace"
)

// Subject is who is denied.
//
// +kubebuilder:validation:XValidation:rule="self.kind != 'Pod' || (has(self.uid) && has(self.__namespace__) && has(self.name))",message="a Pod subject needs uid, namespace and name"
// +kubebuilder:validation:XValidation:rule="self.kind != 'ServiceAccount' || (has(self.__namespace__) && has(self.name))",message="a ServiceAccount subject needs namespace and name"
// +kubebuilder:validation:XValidation:rule="self.kind == 'Pod' || !has(self.uid)",message="uid is for a Pod subject alone"
// +kubebuilder:validation:XValidation:rule="self.kind == 'Pod' || self.kind == 'ServiceAccount' || !has(self.__namespace__)",message="namespace is for Pod and ServiceAccount subjects alone; a Namespace subject has its name in name"
// +kubebuilder:validation:XValidation:rule="self.kind == 'Pod' || !has(self.nodeName)",message="nodeName is for a Pod subject alone; a Node subject has its name in name"
// +kubebuilder:validation:XValidation:rule="self.kind != 'Namespace' || size(self.name) <= 63",message="the name of a namespace has at most 63 characters"
type Subject struct {
	// +required
	Kind SubjectKind `json:"kind"`
	// uid is the pod's UID: a later pod of the same name is not meant.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	UID string `json:"uid,omitempty"`
	// namespace is that of the pod or the service account.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
	// name is the name of the pod, user, group, service account, node or namespace, or the
	// credential's id.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Name string `json:"name"`
	// nodeName is the node that the pod runs on. The policy in the API server goes by it where
	// the way to the pod is that node's kubelet. Where it is absent, status.nodeName has it soon.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	NodeName string `json:"nodeName,omitempty"`
}

// DetectionRef names the detection that caused a quarantine.
type DetectionRef struct {
	// id is the detection's id, as in its record.
	// +required
	// +kubebuilder:validation:MaxLength=128
	ID string `json:"id"`
	// rule is the name of the rule that fired.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Rule string `json:"rule"`
}

// ConditionEnforced is the type of the condition that says whether a quarantine is in force.
const ConditionEnforced = "Enforced"

// The reasons of ConditionEnforced.
const (
	// ReasonInForce: requests of the subject are denied.
	ReasonInForce = "InForce"
	// ReasonExpired: its time is over. It is deleted soon.
	ReasonExpired = "Expired"
	// ReasonNotSupported: this version of Portcullis knows no subjects of that kind.
	ReasonNotSupported = "NotSupported"
)

// QuarantineStatus is what Portcullis says of a quarantine.
type QuarantineStatus struct {
	// conditions has the type Enforced: True while requests of the subject are denied.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// observedGeneration is the generation of the spec that the conditions are about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// nodeName is the node that the subject, a Pod, was seen on.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	NodeName string `json:"nodeName,omitempty"`
	// lastDenied is when a request was last denied because of it, give or take some minutes.
	// +optional
	LastDenied *metav1.Time `json:"lastDenied,omitempty"`
}

// QuarantineList is a list of Quarantines.
//
// +kubebuilder:object:root=true
type QuarantineList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Quarantine `json:"items"`
}
