#!/bin/sh
# A machine in small: this one's files under a layer of memory, its own process numbers, mounts, name
# and control groups, and systemd as its first process. Nothing of it outlives that process.
# Run as: unshare --mount --pid --fork --uts --ipc --cgroup sh boot.sh SYSTEMD FOLDER PATH...
# FOLDER is an empty folder; each PATH is seen there as it is here.
set -eu
systemd=$1 base=$2
shift 2
mount --make-rprivate /
mount -t tmpfs tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
root=$base/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$root"
units=$root${systemd%/systemd}/system
kept=$base/units
mkdir "$kept"
for name in basic sysinit local-fs local-fs-pre multi-user shutdown umount final swap; do
  cp "$units/$name.target" "$kept/"
done
# No unit but these, none that this machine has enabled, none that a generator makes.
for path in "$units" "$root/etc/systemd" "$root/usr/local/lib/systemd" "$root/run" \
  "${units%/system}/system-generators" "$root/var/lib" "$root/dev"; do
  mkdir -p "$path"
  mount -t tmpfs -o mode=755 tmpfs "$path"
done
cp "$kept"/* "$units/"
mkdir -p "$root/etc/systemd/system"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mkdir "$root/dev/pts" "$root/dev/shm"
mount --bind /dev/shm "$root/dev/shm"
for name in null zero full random urandom tty kmsg; do
  [ -e "/dev/$name" ] || continue
  touch "$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
for path in "$@"; do
  mkdir -p "$root$path"
  mount --bind "$path" "$root$path"
done
hostname trainwreck-test
cd "$root"
mkdir -p .outside
pivot_root . .outside
umount -l .outside
exec env -i container=test NOTIFY_SOCKET="$NOTIFY_SOCKET" PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  "$systemd" --unit=basic.target --log-target=null --show-status=0
