#!/usr/bin/env bash
# Installs the Debian packages that building and testing Portcullis need, if
# they are missing: a C compiler for the race detector, clang for the eBPF
# programs, protoc for the protocol, the authorities that the server's image
# trusts, what the agent's tests make containers of, and the disks that the
# store's tests fill. The test cluster installs its own.
set -euo pipefail

packages=(ca-certificates gcc libc6-dev clang llvm protobuf-compiler libprotobuf-dev
  runc busybox-static iproute2 curl bash procps e2fsprogs mount)
missing=()
for p in "${packages[@]}"; do
  dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "setup: this machine has no apt-get; install these yourself: ${missing[*]}" >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "setup: installing ${missing[*]} needs root" >&2
  exit 1
fi
echo "setup: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
