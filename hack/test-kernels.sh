#!/usr/bin/env bash
# Runs the agent's tests, with real containers, on kernels other than the machine's: Debian's, in
# an emulated machine whose file system is in memory. No KVM is needed; it takes a few minutes.
#
#   hack/test-kernels.sh                    all of the kernels below
#   hack/test-kernels.sh 6.1                one of them
#   RUN=TestFormsOfCgroups hack/test-kernels.sh    the tests whose names match
#
# Kernels are kept in $CACHE, by version. A run fails when a test fails, when none ran, or when
# the machine does not come to its end.
set -euo pipefail
cd "$(dirname "$0")/.."

CACHE=${CACHE:-${XDG_CACHE_HOME:-/var/cache}/portcullis/kernels}
RUN=${RUN:-.}
TIMEOUT=${TIMEOUT:-90m}

# name, Debian release, how cgroups are mounted: the oldest kernel that the
# agent is made for with those of version 1, and one with nothing but version 2.
kernels=("5.10 bullseye hybrid" "6.1 bookworm unified")
packages=(./agent/bpf ./agent/session ./agent ./cmd/portcullis-agent)
# What the tests run in containers, and the containers' runtime.
tools=(sh dash bash sleep env true false cat stat unshare setsid mount nsenter script runc busybox mkdir ln cp touch chmod chroot umount)

install_missing() {
  local missing=()
  for p in qemu-system-x86 cpio runc busybox-static bsdutils; do
    dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "kernels: installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# fetch prints the path of a release's newest kernel, from the cache if it is there.
fetch() {
  local release=$1 etc lists package deb
  etc=$work/$release
  mkdir -p "$etc"/{lists/partial,cache/archives/partial}
  cat >"$etc/sources.list" <<LIST
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $release main
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian-security $release-security main
LIST
  local apt=(-o "Dir::Etc::sourcelist=$etc/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$etc/lists" -o "Dir::Cache=$etc/cache" -o APT::Sandbox::User=root)
  if ! apt-get "${apt[@]}" update -qq >&2; then
    # Without a network an earlier download will do.
    find "$CACHE" -path "*/$release/*" -name 'vmlinuz-*' | sort -V | tail -1
    return
  fi
  package=$(apt-cache "${apt[@]}" depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ {print $2; exit}')
  local version dir
  version=$(apt-cache "${apt[@]}" show "$package" | awk '/^Version:/ {print $2; exit}')
  dir=$CACHE/$release/$version
  if ! ls "$dir"/vmlinuz-* >/dev/null 2>&1; then
    (cd "$etc" && apt-get "${apt[@]}" download -qq "$package" >&2)
    mkdir -p "$dir.part"
    dpkg-deb --fsys-tarfile "$etc"/*.deb | tar -x -C "$dir.part" --strip-components=2 --wildcards './boot/vmlinuz-*'
    rm -rf "$dir" && mv "$dir.part" "$dir"
  fi
  ls "$dir"/vmlinuz-*
}

# copy puts a program, with the libraries that it needs, into the machine's file system.
copy() {
  local file
  file=$(type -P "$1") || return 0
  for f in "$file" "$(readlink -f "$file")" $(ldd "$(readlink -f "$file")" 2>/dev/null | grep -o '/[^ ]*'); do
    # As links what are links, and what they lead to; all of it in /usr.
    for f in "$f" "$(readlink -f "$f")"; do
      case $f in /bin/* | /sbin/* | /lib/* | /lib64/*) f=/usr$f ;; esac
      [ -e "$root$f" ] || (cd / && cp -a --parents "${f#/}" "$root")
    done
  done
}

build_root() {
  root=$work/root
  mkdir -p "$root"/{usr/bin,usr/sbin,usr/lib,usr/lib64,proc,sys,dev,tmp,run,var,etc,tests,new,root}
  ln -sf usr/bin usr/sbin usr/lib usr/lib64 "$root/" # as in every Debian since 12
  ln -sf ../run "$root/var/run"
  for tool in "${tools[@]}"; do copy "$tool"; done
  echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
  echo 'root:x:0:' >"$root/etc/group"
  for package in "${packages[@]}"; do
    [ -d "$package" ] || continue
    CGO_ENABLED=0 go test -c -ldflags '-s -w' -o "$root/tests/$(tr / _ <<<"${package#./}").test" "$package"
  done
  cat >"$root/init" <<'INIT'
#!/bin/busybox sh
# The root that the kernel unpacked cannot be changed for another (pivot_root),
# which every container needs: so all moves into a file system of its own first.
if [ ! -e /.moved ]; then
  /bin/busybox mount -t tmpfs -o size=90% tmpfs /new
  for d in usr bin sbin lib lib64 etc tests var init root; do /bin/busybox cp -a "/$d" /new/; done
  /bin/busybox mkdir -p /new/proc /new/sys /new/dev /new/tmp /new/run
  /bin/busybox touch /new/.moved
  exec /bin/busybox switch_root /new /init
fi
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PORTCULLIS_KERNEL_TEST=1
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
$b mkdir -p /dev/pts /dev/shm
$b mount -t devpts -o ptmxmode=0666 devpts /dev/pts
$b ip link set lo up
if $b grep -q portcullis.cgroups=hybrid /proc/cmdline; then
  $b mount -t tmpfs cgroup /sys/fs/cgroup
  for c in cpu memory pids devices freezer; do
    $b mkdir "/sys/fs/cgroup/$c" && $b mount -t cgroup -o "$c" cgroup "/sys/fs/cgroup/$c"
  done
  $b mkdir /sys/fs/cgroup/unified && $b mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
else
  $b mount -t cgroup2 cgroup2 /sys/fs/cgroup
  for c in $($b cat /sys/fs/cgroup/cgroup.controllers); do echo "+$c" >/sys/fs/cgroup/cgroup.subtree_control; done
fi
echo "KERNEL $($b uname -r)"
run=$($b sed 's/.*portcullis.run=\([^ ]*\).*/\1/' /proc/cmdline)
for t in /tests/*.test; do
  cd /tmp
  if "$t" -test.v -test.timeout 60m -test.run "$run"; then echo "PASSED $t"; else echo "FAILED $t"; fi
done
echo "KERNEL TESTS END"
$b poweroff -f
INIT
  chmod +x "$root/init"
  (cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initramfs.gz"
}

# boot runs one kernel and judges what it printed.
boot() {
  local name=$1 kernel=$2 cgroups=$3 log=$work/$1.log begin=$SECONDS
  echo "kernels: $name: $(basename "$kernel"), cgroups $cgroups"
  timeout "$TIMEOUT" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 3G -nographic -no-reboot -nodefaults -serial stdio \
    -kernel "$kernel" -initrd "$work/initramfs.gz" \
    -append "console=ttyS0 quiet panic=-1 portcullis.cgroups=$cgroups portcullis.run=$RUN lsm=lockdown,yama,apparmor,bpf" \
    </dev/null >"$log" 2>&1 || true
  tr -d '\r' <"$log" >"$log.text"
  local passed failed skipped
  passed=$(grep -c '^--- PASS' "$log.text" || true)
  failed=$(grep -c '^ *--- FAIL' "$log.text" || true)
  skipped=$(grep -c '^ *--- SKIP' "$log.text" || true)
  if ! grep -q '^KERNEL TESTS END' "$log.text" || grep -q '^FAILED' "$log.text" || [ "$passed" -eq 0 ]; then
    grep -B 30 -E '^ *--- FAIL|^panic:|^FAILED|Kernel panic' "$log.text" | tail -200 || tail -100 "$log.text"
    cp "$log.text" "$CACHE/$name.log"
    echo "kernels: $name: FAILED, $passed tests passed, $failed failed; all of its output is in $CACHE/$name.log"
    return 1
  fi
  echo "kernels: $name: $passed tests passed, $skipped skipped, in $((SECONDS - begin)) s, on Linux $(sed -n 's/.*KERNEL \([0-9]\)/\1/p' "$log.text" | head -1)"
  grep -A1 -E '^ *--- SKIP' "$log.text" | grep -vE '^--$' | sed 's/^/  /' || true
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$CACHE"
install_missing
build_root
status=0 ran=0
for line in "${kernels[@]}"; do
  read -r name release cgroups <<<"$line"
  [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
  ran=$((ran + 1))
  boot "$name" "$(fetch "$release")" "$cgroups" || status=1
done
[ "$ran" -gt 0 ] || { echo "kernels: none of $* is known; there are: ${kernels[*]%% *}" >&2; exit 2; }
exit "$status"
