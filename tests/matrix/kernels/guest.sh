#!/bin/sh
# The guest's first process: mounts what an init would, runs the tests, sends versions
# and what pytest says of the tests through serial ports, and switches the guest off.
export HOME=/root LANG=C.UTF-8
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for directory in /dev/shm /run /tmp; do mount -t tmpfs tmpfs "$directory"; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
hostname guest
cd /src || exit
if grep -q compile-once /proc/cmdline; then
  export PYTHONPATH=/src/tests/matrix/kernels/once
fi
stty -F /dev/ttyS1 raw
stty -F /dev/ttyS2 raw
python3 -m tests.matrix.kernels.versions >/dev/ttyS1
xargs -0 python3 -m pytest --junitxml=/tmp/junit.xml <guest-arguments
cat /tmp/junit.xml >/dev/ttyS2
sleep 1 # until the port has sent it
echo o >/proc/sysrq-trigger
sleep 60
