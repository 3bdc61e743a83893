package identity

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/portcullis-dev/portcullis/event"
)

const (
	// maxContainers bounds the containers that are remembered of one pod: each
	// restart makes another, and those of long ago are asked for no more.
	maxContainers = 64
	// maxLabels bounds the bytes of a pod's labels that are kept: an API server takes a megabyte of them.
	maxLabels = 16 << 10
	// maxText bounds any other text that nobody but its writer limits, such as an image; maxID those that are
	// only ever compared: a longer one is none.
	maxText = 1 << 10
	maxID   = 256
)

// record is what is kept of one pod. The resolver's lock guards it.
type record struct {
	// pod has the confidence Exact.
	pod event.Pod
	// cut says that the pod has more labels than are kept.
	cut bool
	// hash is the UID in the cgroups of a static pod, empty for all others.
	hash        string
	owner       Owner
	hostNetwork bool
	// created is the creationTimestamp: cut to the second, and by the clock of whatever API server made the
	// pod. What follows is by our own clock.
	created time.Time
	// learned is when the resolver heard of the pod. It was made at most watchLag before that if
	// fresh is set, else any time.
	learned time.Time
	fresh   bool
	// deleted is the latest moment at which the pod can have lived, as far as its own end tells; zero while it
	// does. See history.end for what its successor tells.
	deleted time.Time
	// sure is until when the pod is known to have lived, where nobody saw it go; zero where
	// somebody did.
	sure time.Time
	// removed is when the resolver learned of the deletion, for the retention.
	removed time.Time
	// ending says that the pod has a deletionTimestamp. released is when that became known, claimed
	// when the hash did.
	ending            bool
	claimed, released time.Time
	// bytes is about what the record takes, once the pod is gone.
	bytes int64
	// stored is when the Store got the record last.
	stored     time.Time
	containers map[string]container
	// seen orders the containers' IDs by arrival, oldest first.
	seen []string
	// nameless are containers that were waited for in vain, see Hold.
	nameless map[string]struct{}
	// sole is the only container of the pod, empty if there are several; commands are those that the kubelet runs
	// itself. The Store does not have them: the watch tells of every pod that still lives.
	sole     string
	commands []ownCommand
}

// container is what is kept of one container, found by its ID.
type container struct {
	name, image string
	privileged  *bool
}

func newRecord(pod *corev1.Pod) *record {
	labels, cut := cutLabels(pod.Labels)
	r := &record{
		pod: event.Pod{
			UID:        string(pod.UID),
			Namespace:  pod.Namespace,
			Name:       pod.Name,
			Node:       pod.Spec.NodeName,
			Labels:     labels,
			Confidence: event.Exact,
		},
		cut:         cut,
		hash:        mirrorHash(pod),
		ending:      pod.DeletionTimestamp != nil,
		owner:       ownerOf(pod),
		hostNetwork: pod.Spec.HostNetwork,
		created:     pod.CreationTimestamp.Time,
		containers:  map[string]container{},
		sole:        soleContainer(&pod.Spec),
		commands:    ownCommands(&pod.Spec),
	}
	r.addContainers(pod)
	return r
}

// inherit takes over what an earlier state of the pod knew: since when it is known, and the
// containers, of which the status names only the present one and the one before it. It reports
// whether the state says something that the earlier one did not.
func (r *record) inherit(old *record) (news bool) {
	news = !old.removed.IsZero() || !r.describesAs(old)
	r.learned, r.fresh, r.stored, r.nameless = old.learned, old.fresh, old.stored, old.nameless
	present, order := r.containers, r.seen
	r.containers, r.seen = old.containers, old.seen
	for _, id := range order {
		known, ok := r.containers[id]
		news = news || !ok || !known.equals(present[id])
		r.addContainer(id, present[id])
	}
	return news
}

// describesAs reports whether two states of a pod agree in all but their containers.
func (r *record) describesAs(other *record) bool {
	return r.pod.Node == other.pod.Node && maps.Equal(r.pod.Labels, other.pod.Labels) &&
		r.hash == other.hash && r.owner == other.owner
}

func (c container) equals(other container) bool {
	return c.name == other.name && c.image == other.image &&
		(c.privileged != nil && *c.privileged) == (other.privileged != nil && *other.privileged)
}

func (r *record) addContainers(pod *corev1.Pod) {
	privileged := privilegedByName(&pod.Spec)
	for _, statuses := range [][]corev1.ContainerStatus{
		pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses,
	} {
		for i := range statuses {
			s := &statuses[i]
			c := container{name: short(s.Name), image: short(s.Image), privileged: privileged[s.Name]}
			if last := s.LastTerminationState.Terminated; last != nil {
				r.addContainer(bareID(last.ContainerID), c)
			}
			r.addContainer(bareID(s.ContainerID), c)
		}
	}
}

func (r *record) addContainer(id string, c container) {
	if id == "" || len(id) > maxID {
		return
	}
	if _, known := r.containers[id]; !known {
		r.seen = append(r.seen, id)
	}
	r.containers[id] = c
	if len(r.seen) > maxContainers {
		delete(r.containers, r.seen[0])
		r.seen = r.seen[1:]
	}
}

// bareID removes the runtime from a container ID: containerd://<id>.
func bareID(id string) string {
	_, bare, found := strings.Cut(id, "://")
	if !found {
		return id
	}
	return bare
}

func privilegedByName(spec *corev1.PodSpec) map[string]*bool {
	out := map[string]*bool{}
	for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			out[containers[i].Name] = privileged(containers[i].SecurityContext)
		}
	}
	for i := range spec.EphemeralContainers {
		out[spec.EphemeralContainers[i].Name] = privileged(spec.EphemeralContainers[i].SecurityContext)
	}
	return out
}

func privileged(c *corev1.SecurityContext) *bool {
	p := c != nil && c.Privileged != nil && *c.Privileged
	return &p
}

func ownerOf(pod *corev1.Pod) Owner {
	ref := metav1.GetControllerOfNoCopy(pod)
	if ref == nil {
		return Owner{}
	}
	return Owner{Kind: short(ref.Kind), Name: short(ref.Name)}
}

// cutLabels returns the labels, or as many of them as are kept, in the order of their keys.
func cutLabels(labels map[string]string) (kept map[string]string, cut bool) {
	size := 0
	for key, value := range labels {
		size += len(key) + len(value)
	}
	if size <= maxLabels {
		return labels, false
	}
	kept, size = map[string]string{}, 0
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if size += len(key) + len(labels[key]); size > maxLabels {
			break
		}
		kept[key] = labels[key]
	}
	return kept, true
}

// short is the beginning of a text that should be short.
func short(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.Clone(text[:maxText])
}

// size is about how many bytes the record takes.
func (r *record) size() int64 {
	const (
		base = 1 << 10 // the record, its places in the indexes
		each = 128     // of an entry of a map, and its texts' headers
	)
	n := base + len(r.pod.UID) + len(r.pod.Namespace) + len(r.pod.Name) + len(r.pod.Node) + len(r.hash) +
		len(r.owner.Kind) + len(r.owner.Name)
	for key, value := range r.pod.Labels {
		n += each + len(key) + len(value)
	}
	for id, c := range r.containers {
		n += each + len(id) + len(c.name) + len(c.image)
	}
	for _, c := range r.commands {
		n += each
		for _, arg := range c.argv {
			n += len(arg)
		}
	}
	return int64(n)
}

// trim returns a pod with only what newRecord reads, so that the watch's own
// copies of a large cluster's pods stay small. The watch's machinery calls it.
func trim(obj any) (any, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return obj, nil
	}
	out := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			UID: pod.UID, Namespace: pod.Namespace, Name: pod.Name, ResourceVersion: pod.ResourceVersion,
			CreationTimestamp: pod.CreationTimestamp, DeletionTimestamp: pod.DeletionTimestamp,
			Labels: pod.Labels, OwnerReferences: pod.OwnerReferences,
		},
		Spec: corev1.PodSpec{NodeName: pod.Spec.NodeName, HostNetwork: pod.Spec.HostNetwork},
		Status: corev1.PodStatus{
			InitContainerStatuses:      trimStatuses(pod.Status.InitContainerStatuses),
			ContainerStatuses:          trimStatuses(pod.Status.ContainerStatuses),
			EphemeralContainerStatuses: trimStatuses(pod.Status.EphemeralContainerStatuses),
		},
	}
	if hash, ok := pod.Annotations[corev1.MirrorPodAnnotationKey]; ok {
		out.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: hash}
	}
	out.Spec.InitContainers = trimContainers(pod.Spec.InitContainers)
	out.Spec.Containers = trimContainers(pod.Spec.Containers)
	for i := range pod.Spec.EphemeralContainers {
		c := &pod.Spec.EphemeralContainers[i]
		out.Spec.EphemeralContainers = append(out.Spec.EphemeralContainers, corev1.EphemeralContainer{
			EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: c.Name, SecurityContext: c.SecurityContext},
		})
	}
	return out, nil
}

func trimContainers(in []corev1.Container) []corev1.Container {
	out := make([]corev1.Container, len(in))
	for i := range in {
		c := &in[i]
		out[i] = corev1.Container{
			Name: c.Name, SecurityContext: c.SecurityContext, Lifecycle: trimLifecycle(c.Lifecycle),
			StartupProbe: trimProbe(c.StartupProbe), ReadinessProbe: trimProbe(c.ReadinessProbe), LivenessProbe: trimProbe(c.LivenessProbe),
		}
	}
	return out
}

func trimStatuses(in []corev1.ContainerStatus) []corev1.ContainerStatus {
	out := make([]corev1.ContainerStatus, len(in))
	for i := range in {
		out[i] = corev1.ContainerStatus{Name: in[i].Name, Image: in[i].Image, ContainerID: in[i].ContainerID}
		if last := in[i].LastTerminationState.Terminated; last != nil {
			out[i].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ContainerID: last.ContainerID}
		}
	}
	return out
}
