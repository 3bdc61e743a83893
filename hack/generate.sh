#!/usr/bin/env bash
# Regenerates every generated file of the repository from its source.
# hack/verify.sh does so in a copy and fails when anything differs.
set -euo pipefail
cd "$(dirname "$0")/.."

tool() { go tool -modfile=hack/tools/go.mod "$@"; }
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
go build -modfile=hack/tools/go.mod -o "$bin/" google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc

echo "protocol: api/telemetry/v1"
PATH="$bin:$PATH" protoc -I api --go_out=api --go_opt=paths=source_relative \
  --go-grpc_out=api --go-grpc_opt=paths=source_relative telemetry/v1/telemetry.proto

echo "API types: api/v1alpha1, config/crd"
tool controller-gen object paths=./api/v1alpha1
tool controller-gen crd paths=./api/v1alpha1 output:crd:dir=config/crd
mkdir -p charts/portcullis/files/crd
cp config/crd/*.yaml charts/portcullis/files/crd/

echo "JSON schemas for editors: config/schema"
go test ./config/schema -run Generated -update >/dev/null

echo "chart: table of values in charts/portcullis/README.md"
go test ./charts -run Generated -update >/dev/null

echo "reference of fields: docs/reference/fields.md"
go test ./correlator/field -run Reference -update >/dev/null

echo "eBPF programs: agent/bpf"
if ls agent/bpf/*.c >/dev/null 2>&1; then
  go build -modfile=hack/tools/go.mod -o "$bin/" github.com/cilium/ebpf/cmd/bpf2go
  PATH="$bin:$PATH" go generate ./agent/bpf
fi
gofmt -l -w api
