package collector

import (
	"strings"
	"sync"
	"time"

	"github.com/portcullis-dev/portcullis/event"
)

// ActionForeignPod is event.action of an event of Portcullis' own: a node's agent has told something of a pod
// that runs on another node, which only somebody who has captured an agent (or its token) does.
const ActionForeignPod = "foreign-pod-telemetry"

const (
	// tellAgain is how often a node's telling of the same pod is an event.
	tellAgain = 10 * time.Minute
	// maxClaimsPerNode bounds the pods of which that is remembered. Whoever tells of more is known to lie by then.
	maxClaimsPerNode = 64
)

// Claims makes events of what agents tell of other nodes' pods: one for each node and pod, again after a while, however much an agent
// tells. It is safe for concurrent use.
type Claims struct {
	clock  func() time.Time
	mu     sync.Mutex
	byNode map[string]map[string]claim // and by pod
}

// claim is the first event of a node about a pod. Should it come again (its delivery has failed) it becomes the same event again.
type claim struct {
	id string
	at time.Time
}

// NewClaims returns one that has heard nothing.
func NewClaims(clock func() time.Time) *Claims {
	return &Claims{clock: clock, byNode: make(map[string]map[string]claim)}
}

// Event makes an event of one that is not believed, nil if the same was told of lately. It happened as the server
// heard of it, whatever the agent says. It has no pod, so that whoever is spoken of cannot come to harm by it: the pod's UID is
// among Pod.Candidates, the node that spoke is Pod.Node.
func (c *Claims) Event(of *event.Event) *event.Event {
	node := of.Pod.Node
	told, due := c.take(node, of)
	if !due {
		return nil
	}
	var id event.Digest
	id.Text(ActionForeignPod)
	id.Text(of.ID)
	out := &event.Event{
		ID: id.ID(), Kind: event.KindProcess, Dataset: event.DatasetProcess, Source: of.Source,
		Time: told.at, StageTime: told.at, Received: told.at, Clock: event.Clock{Measured: true},
		Category: []string{"intrusion_detection"}, Type: []string{"denied"}, Action: []string{ActionForeignPod},
		Pod: event.Pod{Node: node, Confidence: event.Ambiguous, Candidates: []string{strings.Clone(of.Pod.UID)}},
	}
	out.Request = out.ID
	return out
}

// take notes a claim, if it is due.
func (c *Claims) take(node string, of *event.Event) (claim, bool) {
	now := c.clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	pods := c.byNode[node]
	if told, known := pods[of.Pod.UID]; known && now.Sub(told.at) < tellAgain {
		return told, told.id == of.ID
	}
	if pods == nil {
		pods = make(map[string]claim)
		c.byNode[node] = pods
	}
	if len(pods) >= maxClaimsPerNode {
		for uid, told := range pods {
			if now.Sub(told.at) >= tellAgain {
				delete(pods, uid)
			}
		}
	}
	if len(pods) >= maxClaimsPerNode {
		return claim{}, false
	}
	told := claim{of.ID, now}
	pods[of.Pod.UID] = told
	return told, true
}
