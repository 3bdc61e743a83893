package quarantine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/singleflight"
	corev1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	// lookupTimeout bounds a lookup that several requests may wait for.
	lookupTimeout = 2 * time.Second
	// maxEndpoints bounds the pods of one service: more than that are too many to judge a request by.
	maxEndpoints = 20_000
)

// errManyEndpoints says that a service leads to so many pods that a request is not judged by them.
var errManyEndpoints = fmt.Errorf("the service has more than %d endpoints", maxEndpoints)

// EndpointLists asks the API server where a service leads. It keeps nothing: it is asked only while
// something in the service's namespace is in quarantine.
type EndpointLists struct {
	client kubernetes.Interface
	// flight has requests for the same service share one lookup, so that nobody makes the
	// lookups late by asking often.
	flight singleflight.Group
}

// NewEndpointLists makes one that asks through the client.
func NewEndpointLists(client kubernetes.Interface) (*EndpointLists, error) {
	if client == nil {
		return nil, errors.New("quarantine endpoints: the client is missing")
	}
	return &EndpointLists{client: client}, nil
}

// PodsOf implements Endpoints. It goes by the service's EndpointSlices, ready or not, and by its Endpoints as well,
// since those are what API servers have read so far for services/proxy, and whoever may write them can keep them out
// of the slices. A name counts and not the UID beside it: the API server connects to a pod of that name
// whose address is the endpoint's, and checks nothing else.
func (l *EndpointLists) PodsOf(ctx context.Context, namespace, service string) ([]string, error) {
	result := l.flight.DoChan(namespace+"/"+service, func() (any, error) {
		// Whoever began it may give up before the others do.
		own, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
		defer cancel()
		return l.lookUp(own, namespace, service)
	})
	select {
	case r := <-result:
		names, _ := r.Val.([]string)
		return names, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *EndpointLists) lookUp(ctx context.Context, namespace, service string) ([]string, error) {
	names := map[string]struct{}{}
	if err := l.fromSlices(ctx, namespace, service, names); err != nil {
		return nil, err
	}
	if err := l.fromEndpoints(ctx, namespace, service, names); err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(names)), nil
}

func (l *EndpointLists) fromSlices(ctx context.Context, namespace, service string, names map[string]struct{}) error {
	list, err := l.client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{
		LabelSelector: metav1.FormatLabelSelector(metav1.SetAsLabelSelector(map[string]string{discovery.LabelServiceName: service})),
	})
	if err != nil {
		return fmt.Errorf("list EndpointSlices: %w", err)
	}
	for i := range list.Items {
		for j := range list.Items[i].Endpoints {
			add(names, namespace, list.Items[i].Endpoints[j].TargetRef)
		}
		if len(names) > maxEndpoints {
			return errManyEndpoints
		}
	}
	return nil
}

func (l *EndpointLists) fromEndpoints(ctx context.Context, namespace, service string, names map[string]struct{}) error {
	endpoints, err := l.client.CoreV1().Endpoints(namespace).Get(ctx, service, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get Endpoints: %w", err)
	}
	for _, subset := range endpoints.Subsets {
		for _, address := range slices.Concat(subset.Addresses, subset.NotReadyAddresses) {
			add(names, namespace, address.TargetRef)
		}
	}
	if len(names) > maxEndpoints {
		return errManyEndpoints
	}
	return nil
}

func add(names map[string]struct{}, namespace string, to *corev1.ObjectReference) {
	if to != nil && to.Name != "" && to.Namespace == namespace {
		names[to.Name] = struct{}{}
	}
}
