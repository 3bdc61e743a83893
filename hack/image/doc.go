// Package image writes container images without a container runtime.
//
// A program that is one static binary, as ours are, needs no Dockerfile: its
// image is a handful of files and a configuration. [Write] takes both as a
// [Spec] and leaves an OCI archive, which containerd's
// `ctr image import` reads, as does whatever else reads OCI image layouts in a tarball.
//
// The output depends on the Spec alone: entries are sorted, every timestamp is
// the Unix epoch, owners are numbers, and missing parent directories are
// added as 0755 root. Writing the same Spec twice gives the same bytes, so
// that an image's digest says something about its content.
//
//	err := image.Write("dist/agent.tar", "portcullis/agent:v1", image.Spec{
//		Files:      []image.File{{Path: "/portcullis-agent", Source: "bin/portcullis-agent", Mode: 0o755}},
//		Entrypoint: []string{"/portcullis-agent"},
//		User:       "65532:65532",
//	})
package image
