package program_test

import (
	"fmt"
	"testing"

	"github.com/portcullis-dev/portcullis/eql"
	"github.com/portcullis-dev/portcullis/eql/eqltest"
	"github.com/portcullis-dev/portcullis/eql/program"
	"github.com/portcullis-dev/portcullis/eql/value"
)

// loadSchema has the fields that real rules read most.
func loadSchema() eqltest.Schema {
	var fields []value.Field
	for _, name := range []string{
		"event.category", "event.type", "event.action", "event.dataset", "host.os.type", "container.id",
		"process.name", "process.args", "process.executable", "process.command_line", "process.working_directory",
		"process.parent.name", "process.parent.executable", "process.parent.args", "process.entry_leader.entry_meta.type",
		"file.path", "file.name", "user.name",
		"kubernetes.audit.verb", "kubernetes.audit.stage", "kubernetes.audit.requestURI", "kubernetes.audit.user.username",
		"kubernetes.audit.objectRef.resource", "kubernetes.audit.objectRef.subresource", "kubernetes.audit.objectRef.namespace",
	} {
		fields = append(fields, value.Field{Name: name, Many: true})
	}
	for _, name := range []string{
		"process.interactive", "process.parent.interactive", "process.entry_leader.same_as_process",
		"container.security_context.privileged",
	} {
		fields = append(fields, value.Field{Name: name, Type: value.Boolean})
	}
	return eqltest.NewSchema(append(fields, value.Field{Name: "orchestrator.resource.name", Type: value.Reference})...)
}

// load returns n rules shaped like real ones: 3 in 4 for processes, the rest for
// audit events and files; a shared start, a list or some patterns that tell the
// rules apart, an exclusion.
func load(tb testing.TB, n int) []*program.Stage {
	tb.Helper()
	names := []string{"curl", "wget", "nc", "ncat", "socat", "openssl", "python3", "perl", "kubectl", "crictl", "mount", "nsenter", "chroot", "unshare"}
	var stages []*program.Stage
	for i := range n {
		a, b, c := names[i%len(names)], names[(i/3)%len(names)], names[(i/7)%len(names)]
		var query string
		switch i % 8 {
		case 0:
			query = fmt.Sprintf(`process where host.os.type == "linux" and event.type == "start" and event.action == "exec" and
				process.name in ("%s", "%s", "%s%d") and process.interactive == true and container.id like "*"`, a, b, c, i)
		case 1:
			query = fmt.Sprintf(`process where host.os.type == "linux" and event.type == "start" and event.action == "exec" and
				container.id like "?*" and process.args like ("*/%s*", "-%d*", "*%s://*", "*%s -e*") and
				not process.parent.name in ("runc", "containerd-shim", "dockerd", "tini", "s6-svscan")`, a, i, b, c)
		case 2:
			query = fmt.Sprintf(`process where event.type == "start" and process.entry_leader.entry_meta.type == "container" and
				process.entry_leader.same_as_process == true and process.name : ("%s", "%s*") and process.args : "*%d*"`, a, b, i)
		case 3:
			query = fmt.Sprintf(`file where host.os.type == "linux" and event.action == "open" and
				file.path like ("/etc/%s*", "/var/run/secrets/*/%s", "/proc/*/%s", "/root/.%s/*")`, a, b, c, a)
		case 4:
			query = fmt.Sprintf(`any where event.dataset == "kubernetes.audit_logs" and kubernetes.audit.stage in ("ResponseComplete", "ResponseStarted") and
				kubernetes.audit.verb in ("get", "create", "patch") and kubernetes.audit.objectRef.resource == "pods" and
				kubernetes.audit.requestURI like ("*command=%s*", "/api/v1/namespaces/%s/pods/*/exec?*") and
				not kubernetes.audit.user.username like "system:serviceaccount:kube-%d:*"`, a, b, i)
		case 5:
			query = fmt.Sprintf(`process where host.os.type == "linux" and event.type == "start" and event.action == "exec" and
				(process.name in ("sh", "bash", "dash", "busybox", "ash", "zsh") and process.args in ("/usr/bin/%s", "/bin/%s", "%s%d", "%s") or
				process.executable like ("/tmp/%s*", "/dev/shm/*", "/var/tmp/%d*"))`, a, b, c, i, a, b, i)
		case 6:
			query = fmt.Sprintf(`process where event.type == "start" and event.action == "exec" and process.parent.name == "%s" and
				process.parent.interactive == true and process.command_line like~ ("*%s -O-*", "*base64*", "*|%s*")`, a, b, c)
		case 7:
			query = fmt.Sprintf(`process where host.os.type == "linux" and event.type == "start" and container.security_context.privileged == true and
				process.name == "%s" and process.working_directory like "/mnt/%d*" and user.name == "root"`, a, i)
		}
		p, diags := eql.Compile("", query, loadSchema(), eql.Options{})
		if p == nil {
			tb.Fatalf("compile:\n%s", diags.Render())
		}
		stages = append(stages, p.Stages()...)
	}
	return stages
}

// loadEvents returns what a busy node reports: a shell in a container, a web
// server's worker, an opened file and two requests.
func loadEvents() []value.Record {
	s := loadSchema()
	text, list := value.String, func(v ...string) value.Value { return value.Strings(v) }
	process := func(name, executable, parent string, interactive bool, args ...string) value.Record {
		return s.Event(map[string]value.Value{
			"event.category": list("process"), "event.type": list("start"), "event.action": list("exec"),
			"host.os.type": text("linux"), "container.id": text("0f3b6c0e8f2a4d5c9b7a1e2d3c4b5a69788796a5b4c3d2e1f00112233445566"),
			"process.name": text(name), "process.executable": text(executable), "process.args": value.Strings(args),
			"process.command_line": text(name + " -c something longer than a few characters"), "process.working_directory": text("/srv/app"),
			"process.parent.name": text(parent), "process.parent.executable": text("/usr/bin/" + parent), "user.name": text("root"),
			"process.interactive": value.Bool(interactive), "process.parent.interactive": value.Bool(interactive),
			"process.entry_leader.entry_meta.type": text("container"), "process.entry_leader.same_as_process": value.Bool(false),
			"container.security_context.privileged": value.Bool(false), "orchestrator.resource.name": value.Ref("web-0", "uid:1"),
		})
	}
	audit := func(verb, resource, uri, user string) value.Record {
		return s.Event(map[string]value.Value{
			"event.dataset": text("kubernetes.audit_logs"), "kubernetes.audit.stage": text("ResponseComplete"),
			"kubernetes.audit.verb": text(verb), "kubernetes.audit.objectRef.resource": text(resource),
			"kubernetes.audit.requestURI": text(uri), "kubernetes.audit.user.username": text(user),
		})
	}
	return []value.Record{
		process("bash", "/usr/bin/bash", "runc", true, "bash", "-c", "ls -la /srv/app && id"),
		process("nginx", "/usr/sbin/nginx", "nginx", false, "nginx", "-g", "daemon off;"),
		s.Event(map[string]value.Value{
			"event.category": list("file"), "event.action": list("open"), "host.os.type": text("linux"),
			"file.path": text("/usr/lib/x86_64-linux-gnu/libssl.so.3"), "file.name": text("libssl.so.3"),
		}),
		audit("list", "endpointslices", "/apis/discovery.k8s.io/v1/endpointslices?limit=500", "system:serviceaccount:kube-system:endpoint-controller"),
		audit("get", "pods", "/api/v1/namespaces/default/pods/web-0/log?container=app&follow=true", "alice@example.com"),
	}
}

// BenchmarkMatch evaluates every stage of that many rules for one event.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1, 71, 1000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			stages, events := load(b, n), loadEvents()
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				event := events[i%len(events)]
				i++
				for _, s := range stages {
					s.Match(event)
				}
			}
		})
	}
}

// BenchmarkSet does the same with the stages linked.
func BenchmarkSet(b *testing.B) {
	for _, n := range []int{1, 71, 1000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			memo, events := program.NewSet(load(b, n), byAction()).NewMemo(), loadEvents()
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				memo.Reset(events[i%len(events)])
				i++
				for _, c := range memo.Candidates() {
					memo.Match(int(c))
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		load(b, 8)
	}
}
