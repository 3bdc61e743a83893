package ruleproof

import (
	"maps"
	"strings"

	"github.com/portcullis-dev/portcullis/correlator/field"
	"github.com/portcullis-dev/portcullis/event"
	"github.com/portcullis-dev/portcullis/rule/witness"
)

const (
	extra   = "kubernetes.audit.user.extra."
	podName = "web-0"
	podUID  = "5f0c6d1e-0a53-4c52-9d8e-1f0d3f1f7a11"
)

// shapes are the kinds of events that our sources make.
func shapes(s *field.Schema) []witness.Shape {
	sources := map[string]string{}
	for _, f := range s.Fields() {
		sources[f.Name] = f.Source
	}
	process := processShape()
	process.Has = func(f string) bool { return strings.Contains(sources[f], "agent") && !strings.HasPrefix(f, "file.") }
	file := fileShape()
	file.Has = func(f string) bool { return strings.Contains(sources[f], "agent") }
	audit := auditShape()
	audit.Has = func(f string) bool {
		source, fixed := sources[f]
		return strings.Contains(source, "audit") || !fixed && strings.HasPrefix(f, "kubernetes.audit.")
	}
	return []witness.Shape{process, file, audit}
}

func processShape() witness.Shape {
	return witness.Shape{
		Name: "a process event",
		Usual: map[string]any{
			"event.category": []string{"process"}, "event.type": []string{"start"}, "event.action": []string{"exec"},
			"event.dataset": event.DatasetProcess, "host.name": "node-1",
			"orchestrator.resource.name": podName, "orchestrator.resource.id": podUID, "orchestrator.namespace": "default",
			"container.id": strings.Repeat("c0ffee", 10) + "0000", "container.name": "web", "container.image.name": "registry.example/web",
			"process.name": "sh", "process.executable": "/bin/sh", "process.args": []string{"sh"}, "process.working_directory": "/",
			"process.entity_id": "node-1:4242:1", "process.pid": 4242, "process.interactive": false, "process.args_truncated": false,
			"process.parent.name": "containerd-shim", "process.parent.executable": "/usr/bin/containerd-shim", "process.parent.pid": 4000,
			"process.parent.args": []string{"containerd-shim"}, "process.parent.entity_id": "node-1:4000:1", "process.parent.interactive": false,
			"process.entry_leader.pid": 4100, "process.entry_leader.entity_id": "node-1:4100:1", "process.entry_leader.entry_meta.type": "container",
			"process.entry_leader.same_as_process": false, "process.entry_leader.interactive": false,
			"user.id": "1000", "group.id": "1000",
		},
		Fixed: map[string]any{
			"host.os.type": "linux", "host.os.family": "linux", "event.kind": "event",
			"orchestrator.type": "kubernetes", "orchestrator.resource.type": "pod",
		},
		Always: []string{
			"process.interactive", "process.args_truncated", "process.parent.interactive", "process.entry_leader.same_as_process",
			"process.entry_leader.interactive", "user.id", "group.id",
		},
		Formats: map[string]string{
			"user.id": `0|[1-9][0-9]{0,8}`, "group.id": `0|[1-9][0-9]{0,8}`, "orchestrator.resource.label": `[A-Za-z0-9./_-]+:.*`,
			"container.image.name": `([^:@/]+(:[0-9]+)?/)?[^:@]+`, "container.image.tag": `[^:@/]+`, "container.image.hash.all": `[^@]+`,
		},
		Same: map[string]string{"data_stream.dataset": "event.dataset", "host.hostname": "host.name"},
		Joined: map[string]string{
			"process.command_line": "process.args", "process.parent.command_line": "process.parent.args",
		},
		Counted:  map[string]string{"process.args_count": "process.args", "process.parent.args_count": "process.parent.args"},
		Identity: map[string]string{"orchestrator.resource.name": "orchestrator.resource.id"},
	}
}

func fileShape() witness.Shape {
	s := processShape()
	s.Name = "a file event"
	maps.Copy(s.Usual, map[string]any{
		"event.category": []string{"file"}, "event.type": []string{"change"}, "event.action": []string{"open"},
		"event.dataset": event.DatasetFile, "file.path": "/tmp/notes.txt",
	})
	s.Parts = map[string]witness.PartOf{
		"file.name":      {Field: "file.path", Part: witness.Base},
		"file.directory": {Field: "file.path", Part: witness.Directory},
		"file.extension": {Field: "file.path", Part: witness.Extension},
	}
	return s
}

func auditShape() witness.Shape {
	const (
		prefix = "kubernetes.audit."
		// Rules write dots in the keys of annotations as underscores.
		decision, written = prefix + "annotations.authorization.k8s.io/decision", prefix + "annotations.authorization_k8s_io/decision"
	)
	return witness.Shape{
		Name: "an audit event",
		Usual: map[string]any{
			"event.dataset": event.DatasetAudit, prefix + "stage": "ResponseComplete", prefix + "level": "Metadata", prefix + "verb": "get",
			prefix + "requestURI": "/api/v1/namespaces/default/configmaps/settings", prefix + "auditID": "0b6c1a5e-8d7e-4a3e-9f60-2f8f4b6f0c11",
			prefix + "userAgent": "client/1.0", prefix + "sourceIPs": []string{"192.0.2.10"}, prefix + "responseStatus.code": 200,
			prefix + "objectRef.resource": "configmaps", prefix + "objectRef.namespace": "default", prefix + "objectRef.name": "settings",
			prefix + "user.username": "system:serviceaccount:default:web", prefix + "user.groups": []string{"system:serviceaccounts"},
			extra + event.ExtraPodName: podName, extra + event.ExtraPodUID: []string{podUID},
			decision: "allow",
		},
		Fixed: map[string]any{
			"event.kind": "event", prefix + "apiVersion": "audit.k8s.io/v1", prefix + "kind": "Event",
		},
		Same: map[string]string{
			"data_stream.dataset": "event.dataset", "user.name": prefix + "user.username", "user.id": prefix + "user.uid",
			"source.ip": prefix + "sourceIPs", "client.ip": prefix + "sourceIPs", "user_agent.original": prefix + "userAgent",
			written: decision,
		},
		Follows: map[string]witness.Follow{
			"event.outcome": {
				Field:  decision,
				Values: map[string]any{"success": "allow", "failure": "forbid"},
			},
			prefix + "responseStatus.status": {Field: prefix + "responseStatus.code", Values: map[string]any{"Failure": 403}},
		},
		Identity: map[string]string{extra + event.ExtraPodName: extra + event.ExtraPodUID},
	}
}
