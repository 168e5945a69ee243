#!/bin/busybox sh
# The first program of a guest, in its initramfs: mounts the root, puts the checkout
# there, and hands over to what the checkout says.
export PATH=/bin
/bin/busybox --install -s /bin
mkdir -p /proc /dev /root
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in /modules/*; do
  insmod "$module" 2>/dev/null # one that this processor cannot use has another beside
done
mount -t ext4 /dev/vda /root
mkdir -p /root/src
tar -x -f /dev/vdb -C /root/src
umount /proc
exec switch_root /root /src/tests/matrix/kernels/guest.sh
