#!/bin/busybox sh
# PID 1 of the virtual KVM host: sets the machine up, waits in the snapshot, runs
# one job, and powers off.
B=/bin/busybox
if [ "$1" != 2 ]; then # leave the initramfs, which pivot_root(2) refuses to work from
	$B mount --bind / /mnt
	cd /mnt
	$B mount --move . /
	exec $B chroot . $B sh /init 2
fi
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /sys/fs/cgroup
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tmpfs -o mode=1777 tmp /var/tmp
mount -t tmpfs run /run
mount -t cgroup2 cgroup /sys/fs/cgroup
while read -r m; do insmod "$m"; done </modules.early
ip link set lo up
for p in /sys/class/virtio-ports/*; do
	ln -s "/dev/${p##*/}" "/dev/vh.$(cat "$p/name")"
done
echo "@ready" # the snapshot is taken in the read that follows
exec 3<>/dev/vh.ctl
read -r now <&3
date -s "@$now" >/dev/null
while read -r m; do insmod "$m"; done </modules.late
modprobe tun
mount -t tmpfs -o size=90% job /job
tar -C /job -xf /dev/vda
cd /job
sh ./run </dev/null >/dev/vh.out 2>/dev/vh.err
echo $? >/dev/vh.rc
reboot -f
