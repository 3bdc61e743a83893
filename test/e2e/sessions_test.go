//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/portcullis-dev/portcullis/test/harness"
)

// session is the part of a session that the tests read.
type session struct {
	ID, Door, State, Attribution, Why string
	User                              struct{ Name, Impersonator string }
	Candidates                        []string
	Command                           []string
	Interactive, Unaudited, Final     bool
	Pod                               struct{ UID string }
	Root                              struct{ PID int }
	Processes                         []struct {
		PID  int
		Args []string
	}
	Raw string `json:"-"`
}

func (s session) ran(program string) bool {
	for _, p := range s.Processes {
		if len(p.Args) > 0 && strings.TrimPrefix(p.Args[0], "/bin/") == program {
			return true
		}
	}
	return false
}

// sessions are those of a pod, with everything, the latest first. They come straight from the server, so that they do also while
// the container runtime stands still.
func (w *world) sessions(t *testing.T, server *harness.HTTP, v victim) []session {
	t.Helper()
	query := url.Values{"namespace": {v.namespace}, "pod": {v.name}, "details": {"true"}}
	answer, err := server.Do(step(t), "GET", "/sessions?"+query.Encode(), "", nil)
	w.check(t, err)
	if answer.Code != 200 {
		w.check(t, fmt.Errorf("sessions: %d %s", answer.Code, answer.Body))
	}
	var all []session
	for line := range strings.Lines(answer.Body) {
		s := session{Raw: line}
		w.check(t, json.Unmarshal([]byte(line), &s))
		if s.Pod.UID == v.UID {
			all = append(all, s)
		}
	}
	return all
}

// awaitSession waits for a session of a pod.
func (w *world) awaitSession(t *testing.T, v victim, match func(session) bool) session {
	t.Helper()
	ctx := step(t)
	server, err := w.Server(ctx, "portcullis-reader")
	w.check(t, err)
	for {
		all := w.sessions(t, server, v)
		for _, s := range all {
			if match(s) {
				return s
			}
		}
		if ctx.Err() != nil {
			var b strings.Builder
			for _, s := range all {
				b.WriteString(s.Raw)
			}
			w.check(t, fmt.Errorf("there is no such session in %s/%s: %w\n%s", v.namespace, v.name, ctx.Err(), b.String()))
		}
	}
}

// testSessions has each kind of session once, and looks for who asked and what ran.
func testSessions(t *testing.T, w *world) {
	v := w.deployAs(t, doorPod, "web-0", "sessions")[0]
	in := []string{"-n", v.namespace, v.name}
	for kind, c := range map[string]struct {
		do   func(t *testing.T)
		door string
		ran  string
	}{
		"exec -it": {func(t *testing.T) {
			shell := w.shell(t, v)
			w.enter(t, shell, "ls -d /tmp", "/tmp")
			w.check(t, shell.Type("exit\n"))
			_, err := shell.Ended(step(t))
			w.check(t, err)
		}, "exec", "ls"},
		"exec": {func(t *testing.T) { w.quietly(t, v, "uname -a; true") }, "exec", "uname"},
		"attach": {func(t *testing.T) {
			w.glimpse(t, w.mallory, "tick", append([]string{"attach"}, in...)...)
		}, "attach", ""},
		"debug": {func(t *testing.T) {
			_, err := w.mallory.Must(step(t), "kubectl", append(append([]string{"debug"}, in...), "--image=localhost/shell:1", "--image-pull-policy=Never", "--container=debugger", "--", "sh", "-c", "whoami; true")...)
			w.check(t, err)
		}, "ephemeralcontainers", "whoami"},
		"cp": {func(t *testing.T) {
			_, err := w.mallory.Must(step(t), "kubectl", "cp", "-n", v.namespace, v.name+":/tmp/index.html", w.Work+"/index.html")
			w.check(t, err)
		}, "exec", "tar"},
		"port-forward": {func(t *testing.T) {
			w.glimpse(t, w.mallory, "Forwarding from", "port-forward", "-n", v.namespace, v.name, ":8080")
		}, "portforward", ""},
	} {
		t.Run(kind, func(t *testing.T) {
			c.do(t)
			s := w.awaitSession(t, v, func(s session) bool {
				return s.Door == c.door && s.User.Name == w.mallory.Name && (c.ran == "" || s.ran(c.ran))
			})
			if s.Attribution != "exact" {
				t.Errorf("the attribution is %s: %s", s.Attribution, s.Raw)
			}
		})
	}
	t.Run("portcullisctl", func(t *testing.T) {
		r, err := w.Admin().Must(step(t), "portcullisctl", "sessions", "list", "-n", v.namespace, "--user", w.mallory.Name)
		w.check(t, err)
		for _, shows := range []string{"ephemeralcontainers", "portforward", "attach", "mallory", "sessions/web-0"} {
			if !strings.Contains(r.Stdout, shows) {
				t.Errorf("portcullisctl sessions list does not show %q:\n%s", shows, r.Stdout)
			}
		}
		s := w.awaitSession(t, v, func(s session) bool { return s.ran("uname") })
		r, err = w.Admin().Must(step(t), "portcullisctl", "sessions", "show", s.ID)
		w.check(t, err)
		for _, shows := range []string{"mallory", "exact", "uname -a"} {
			if !strings.Contains(r.Stdout, shows) {
				t.Errorf("portcullisctl sessions show does not show %q:\n%s", shows, r.Stdout)
			}
		}
	})
}

// inContainer is a file of a container, as the machine sees it.
func inContainer(pid int, path string) string { return fmt.Sprintf("/proc/%d/root%s", pid, path) }
