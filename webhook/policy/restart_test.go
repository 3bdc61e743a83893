package policy_test

import (
	"context"
	"flag"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portcullis-dev/portcullis/api/v1alpha1"
	"github.com/portcullis-dev/portcullis/webhook/policy"
)

// restarts says how often TestRestart restarts. What it is about happens more often on a busy machine.
var restarts = flag.Int("restarts", 3, "how often the API server is restarted")

// admitted is the answer to who may exec into a pod that no node runs.
const admitted = http.StatusBadRequest

// TestRestart: an API server that was restarted refuses what it refused before from its first request on, without
// Portcullis, and nobody else.
func TestRestart(t *testing.T) {
	for name, test := range map[string]struct {
		values string
		// shut: nobody gets in before the policy has its quarantines again.
		shut bool
	}{
		"fails open":   {"", false},
		"fails closed": {"gate: {policy: {failurePolicy: Fail}}", true},
	} {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t, test.values, policy.Name, policy.MirrorName)
			c.namespaces(t, "shop")
			web0 := c.pod(t, "shop", "web-0")
			c.quarantine(t, "q-pod", v1alpha1.Subject{Kind: v1alpha1.SubjectPod, UID: string(web0.UID), Namespace: "shop", Name: "web-0"})
			c.quarantine(t, "q-user", v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "mallory"})
			// One that was made while Portcullis was down shows when the policy of Quarantines is there.
			bare := c.quarantine(t, "q-bare", v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "bare"})
			if err := c.objects.Delete(t.Context(), mirrorOf(bare)); err != nil {
				t.Fatal(err)
			}
			into, elsewhere := doors("shop", "web-0")["exec"], get("/api/v1/namespaces/shop/services/web/proxy/")
			refused := map[*caller]request{c.as(t, "alice"): into, c.as(t, "mallory"): elsewhere}
			for who, r := range refused {
				c.await(t, who, r, map[request]string{into: "q-pod", elsewhere: "q-user"}[r])
			}
			late := 0
			for range *restarts {
				c.server.Kill()
				early := c.persist(t, into)
				c.server.Restart(t)
				first := c.ask(t, refused)
				bob, breaker, absent := c.as(t, "bob"), c.as(t, "alice", "system:masters"), c.as(t, "bare").ask(t.Context(), t, elsewhere)
				for who, got := range first {
					if !strings.Contains(got.message, "ValidatingAdmissionPolicy 'portcullis-quarantine") {
						t.Errorf("%s right after a restart: %d %s", refused[who], got.code, got.message)
					}
				}
				if n := early(); n > 0 {
					t.Errorf("%d requests got in before the API server said that it is ready", n)
				}
				if absent.by == "" {
					late++
				}
				if test.shut && absent.by == "" {
					continue // Nobody gets in.
				}
				if got := bob.do(t.Context(), t, elsewhere); got.by != "" {
					t.Errorf("somebody else: %s", got.message)
				}
				if got := breaker.do(t.Context(), t, into); got.by != "" || got.code != admitted {
					t.Errorf("break-glass: %d %s", got.code, got.message)
				}
			}
			t.Logf("right after %d of %d restarts the policy of Quarantines was not there", late, *restarts)
		})
	}
}

// ask makes all requests at the same time: each is the first.
func (c *cluster) ask(t *testing.T, all map[*caller]request) map[*caller]answer {
	t.Helper()
	var (
		mu  sync.Mutex
		wg  sync.WaitGroup
		got = map[*caller]answer{}
	)
	for who, r := range all {
		wg.Go(func() {
			a := who.ask(t.Context(), t, r)
			mu.Lock()
			defer mu.Unlock()
			got[who] = a
		})
	}
	wg.Wait()
	return got
}

// persist makes the request again and again, as somebody does who waits for a restart, until what it returns is called, which
// says how often it was admitted.
func (c *cluster) persist(t *testing.T, r request) func() int {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	eager := c.as(t, "eager")
	count := make(chan int, 1)
	go func() {
		n := 0
		for ctx.Err() == nil {
			req, err := http.NewRequestWithContext(ctx, r.method, eager.host+r.path, http.NoBody)
			if err != nil {
				break
			}
			resp, err := eager.http.Do(req)
			if err != nil {
				time.Sleep(5 * time.Millisecond) // Nobody listens.
				continue
			}
			_ = resp.Body.Close()
			if resp.StatusCode == admitted {
				n++
			}
		}
		count <- n
	}()
	return func() int { cancel(); return <-count }
}
