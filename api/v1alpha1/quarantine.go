package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Quarantine denies its subject's exec-like requests while it exists. Portcullis
// makes one when an enforcing rule fires; people may make one by hand. Deleting
// it releases the subject.
//
// Portcullis names those that it makes after the subject: pod-<uid>, or user- and a
// hash of the user's name. Nobody may give such a name to another kind of
// subject, or that of a pod to another pod; name those that you make by hand otherwise.
//
// +kubebuilder:object:root=true
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.startsWith('pod-') || (self.spec.subject.kind == 'Pod' && has(self.spec.subject.uid) && self.metadata.name == 'pod-' + self.spec.subject.uid)",message="a name that starts with pod- must be pod-<uid of the subject>, which must be a Pod: choose another name",fieldPath=".spec.subject"
// +kubebuilder:validation:XValidation:rule="!self.metadata.name.startsWith('user-') || self.spec.subject.kind == 'User'",message="a name that starts with user- is for a User subject: choose another name",fieldPath=".spec.subject"
// +kubebuilder:resource:scope=Cluster,shortName=quar,categories=portcullis
// +kubebuilder:printcolumn:name="Subject",type=string,JSONPath=`.spec.subject.kind`
// +kubebuilder:printcolumn:name="Namespace",type=string,JSONPath=`.spec.subject.namespace`
// +kubebuilder:printcolumn:name="Name",type=string,JSONPath=`.spec.subject.name`
// +kubebuilder:printcolumn:name="Rule",type=string,JSONPath=`.spec.detection.rule`
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.spec.reason`
// +kubebuilder:printcolumn:name="Expires",type=date,JSONPath=`.spec.expiresAt`,description="when it ends by itself"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Quarantine struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec QuarantineSpec `json:"spec"`
}

// QuarantineSpec says who is denied, why, and until when.
type QuarantineSpec struct {
	// subject is who is denied. It cannot be changed: another subject is another Quarantine.
	// +required
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="the subject cannot be changed, make another Quarantine"
	Subject Subject `json:"subject"`
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

// SubjectKind is the kind of a quarantine's subject.
// +kubebuilder:validation:Enum=Pod;User
type SubjectKind string

// The kinds of subjects.
const (
	// SubjectPod denies requests into one pod, named by its UID.
	SubjectPod SubjectKind = "Pod"
	// SubjectUser denies the requests of one user.
	SubjectUser SubjectKind = "User"
)

// Subject is who is denied.
//
// +kubebuilder:validation:XValidation:rule="self.kind != 'Pod' || (has(self.uid) && has(self.__namespace__) && has(self.name))",message="a Pod subject needs uid, namespace and name"
// +kubebuilder:validation:XValidation:rule="self.kind != 'User' || (has(self.name) && !has(self.uid) && !has(self.__namespace__))",message="a User subject needs name, and neither uid nor namespace"
type Subject struct {
	// +required
	Kind SubjectKind `json:"kind"`
	// uid is the pod's UID: a later pod of the same name is not meant.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	UID string `json:"uid,omitempty"`
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
	// name is the pod's name, or the user's.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Name string `json:"name,omitempty"`
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

// QuarantineList is a list of Quarantines.
//
// +kubebuilder:object:root=true
type QuarantineList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Quarantine `json:"items"`
}
