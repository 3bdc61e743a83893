package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/portcullis-dev/portcullis/test/harness"
)

const (
	// telemetryFile is the log's name in the server's data directory.
	telemetryFile = "telemetry.ndjson"

	tokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // a path
	// header is where the shells put the token. On a command line it would be in
	// the recording.
	header = "/tmp/header"
	prompt = "web-0$ "
)

// application is a pod that calls the API server as applications do, with its
// token and without a terminal. One of its two requests is refused.
const application = `
apiVersion: v1
kind: Pod
metadata: {name: cart-0, namespace: shop, labels: {app: cart}}
spec:
  serviceAccountName: web
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: localhost/shell:1
    imagePullPolicy: Never
    command:
    - bash
    - --norc
    - -c
    - |
      while sleep 3; do
        for what in configmaps secrets; do
          printf 'Authorization: Bearer %s' "$(<` + tokenFile + `)" |
            curl -sk -o /dev/null -H @- https://$KUBERNETES_SERVICE_HOST/api/v1/namespaces/shop/$what
        done
      done
`

// rules are all that the recording must make fire.
func rules() []string {
	return []string{
		"exec-into-pod", "interactive-exec-into-container", "token-access-then-api-request",
		"forbidden-api-request-interactive", "api-request-common-utilities", "api-request-unusual-utilities",
	}
}

// story is what is recorded.
type story struct {
	cluster    *harness.Cluster
	detections *harness.Detections
	begin, end time.Time
}

func (s *story) tell(ctx context.Context) (err error) {
	s.detections, err = s.cluster.Detections(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.detections.Close()) }()
	if err := s.cluster.Install(ctx, "config.notify.http.url="+s.detections.URL,
		"config.telemetryLog.path=/var/lib/portcullis/"+telemetryFile); err != nil {
		return err
	}
	if err := s.cluster.Deploy(ctx, harness.ExecRole("devs"), harness.Workload("shop", "web-0", "web"),
		harness.Workload("billing", "web-0", "web"), application); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	return s.play(ctx)
}

func (s *story) play(ctx context.Context) error {
	alice, err := s.cluster.User(ctx, "alice", "devs")
	if err != nil {
		return err
	}
	eve, err := s.cluster.User(ctx, "eve", "visitors")
	if err != nil {
		return err
	}
	mallory, err := s.cluster.User(ctx, "mallory", "devs")
	if err != nil {
		return err
	}
	s.begin = time.Now()
	for _, scene := range []func(context.Context) error{
		ordinary,
		func(ctx context.Context) error { return work(ctx, alice) },
		func(ctx context.Context) error { return refused(ctx, eve) },
		func(ctx context.Context) error { return sideBySide(ctx, alice, mallory) },
		s.concluded,
		ordinary,
	} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	s.end = time.Now()
	return nil
}

// concluded waits until every rule has fired.
func (s *story) concluded(ctx context.Context) error {
	for _, rule := range rules() {
		if _, err := s.detections.Await(ctx, func(d harness.Detection) bool { return d.Document.Rule.ID == rule }); err != nil {
			return fmt.Errorf("rule %s did not fire: %w", rule, err)
		}
	}
	return nil
}

// work is a command without a terminal.
func work(ctx context.Context, alice harness.User) error {
	_, err := alice.Must(ctx, "kubectl", "exec", "-n", "billing", "web-0", "--", "ls", "/tmp")
	return err
}

// refused is an exec by somebody who has no right to it.
func refused(ctx context.Context, eve harness.User) error {
	r, err := eve.Run(ctx, "kubectl", "exec", "-n", "shop", "web-0", "--", "id")
	if err == nil && r.Code == 0 {
		err = errors.New("eve got in, who has no rights")
	}
	return err
}

// atKeyboard is how long somebody looks at what a command has shown: longer than
// the second within which the rules see a command and a request as one.
const atKeyboard = 1500 * time.Millisecond

// ordinary lets time pass in which only the application works.
func ordinary(ctx context.Context) error { return pause(ctx, 8*time.Second) }

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sideBySide is the attack, while alice debugs next door in a pod of the same name.
func sideBySide(ctx context.Context, alice, mallory harness.User) error {
	t, err := shell(ctx, alice, "billing")
	if err != nil {
		return err
	}
	defer t.Close()
	for _, line := range []string{"cat " + tokenFile + " | wc -c", "curl -s http://127.0.0.1:8080/healthz"} {
		if err := t.Line(ctx, line, prompt); err != nil {
			return err
		}
	}
	// Interactive clients, the whole time, in the pod that did not make the requests.
	if err := t.Type("while sleep 0.5; do curl -s http://127.0.0.1:8080/healthz; done\n"); err != nil {
		return err
	}
	if err := attack(ctx, mallory); err != nil {
		return err
	}
	if err := t.Type("\x03"); err != nil {
		return err
	}
	return leave(t)
}

func attack(ctx context.Context, mallory harness.User) error {
	t, err := shell(ctx, mallory, "shop")
	if err != nil {
		return err
	}
	defer t.Close()
	for _, line := range []string{
		`printf 'Authorization: Bearer %s' "$(cat ` + tokenFile + `)" > ` + header,
		request("curl", "secrets"),
		request("curl", "configmaps"),
		"cp $(command -v curl) /tmp/fetch",
		request("/tmp/fetch", "configmaps"),
	} {
		if err := t.Line(ctx, line, prompt); err != nil {
			return err
		}
		if err := pause(ctx, atKeyboard); err != nil {
			return err
		}
	}
	return leave(t)
}

// request is a shell line that calls the API server with the pod's token.
func request(program, what string) string {
	return program + ` -sk -o /dev/null -w 'HTTP %{http_code}\n' -H @` + header + " https://$KUBERNETES_SERVICE_HOST/api/v1/namespaces/shop/" + what
}

// shell opens an interactive shell in the namespace's web-0.
func shell(ctx context.Context, who harness.User, namespace string) (*harness.Terminal, error) {
	t, err := who.Terminal(ctx, "exec", "-it", "-n", namespace, "web-0", "--", "bash", "--norc")
	if err != nil {
		return nil, err
	}
	// The quotes keep the shell's echo of this line from looking like the prompt.
	if err := t.Line(ctx, "PS1='web''-0$ '", prompt); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// leave ends the shell, so that the recording has the session's end.
func leave(t *harness.Terminal) error {
	if err := t.Type("exit\n"); err != nil {
		return err
	}
	_, err := t.Wait()
	return err
}
