// Package serverprocess runs the real server, as a process of its own, between a real
// API server and sources that the test plays: the tier of tests in which a process can be
// killed at any instant and started again on what it left on its disk.
//
// A [Site] is an API server (package apiserver) with what the chart installs in it: definition,
// roles, empty Secrets and all. [Site.Start] runs cmd/portcullis against it with the
// configuration that the chart renders, its addresses and its data directory apart. The server has the
// rights of its service account and no others.
//
//	site := serverprocess.New(t, serverprocess.Options{})
//	site.Start(t)
//	cp := site.APIServer(t, "cp-1")
//	err := cp.Post(ctx, body)        // an EventList, resent until it is acknowledged
//	agent := site.Agent(t, serverprocess.AgentOptions{Node: "node-1"})
//	agent.Spool.Push(event)
//	site.Kill()                       // SIGKILL
//	site.Start(t)                     // on the same data directory
//	site.Stop(t)                      // SIGTERM: drained
//	site.Detections()
//
// # Who plays whom
//
// An [APIServer] posts what a kube-apiserver posts (over HTTP/2, with the client certificate
// that the server's CA signed for it), and sends a batch again until it is acknowledged. Where the real
// one gives up after some tries, this one goes on: what it sends must arrive, so that a test can say what must
// come of it. With a clock of its own (APIServerOptions.Ahead) it also answers the server's canaries, so
// that its clock is measured: see Gateway.
//
// An [Agent] is the real agent's sending half (agent/transport: spool, numbers, acknowledgements,
// reconnecting), with a real token: audience "portcullis", bound to a pod on its node.
//
// # Detections
//
// The server's standard output goes to one file, which the next process continues. A line that
// a killed process could not finish is no detection.
//
// The binaries of the API server are looked for as package apiserver does; helm, which renders
// the chart, is beside them.
package serverprocess
