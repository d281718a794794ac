#!/bin/sh
# Turns this process into a host: a separate Debian system, with systemd as its first process.
#
#     host.sh FOLDER NAME
#
# Runs in its own namespaces (mounts, processes, network, names, cgroups). The system is this machine's, through an overlay:
# changes of the host are stored in FOLDER, a tmpfs that disappears with the host. No service of the machine's configuration
# starts there, and the host cannot change global kernel state (clock, modules and settings).
set -eu
folder=$1
name=$2

mount -t tmpfs -o mode=755 host "$folder"
mkdir "$folder/upper" "$folder/work" "$folder/root"
root=$folder/root
mount -t overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" host "$root"

# Hide this machine's /root too: a login would run its .bashrc.
for dir in run tmp root var/log/journal; do
    mkdir -p "$root/$dir"
    mount -t tmpfs -o "mode=$([ $dir = tmp ] && echo 1777 || echo 755)" tmpfs "$root/$dir"
done
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount --bind "$root/proc/sys/net" "$root/proc/sys/net"
mount -o remount,bind,ro "$root/proc/sys"
[ ! -e "$root/proc/sysrq-trigger" ] || mount --bind /dev/null "$root/proc/sysrq-trigger"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
mount -t tmpfs -o mode=755 cgroups "$root/sys/fs/cgroup" 2>/dev/null || true
mount -t cgroup2 cgroup "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755,nosuid dev "$root/dev"
for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/net"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"

units=$root/etc/systemd/system
rm -rf "$units"
mkdir "$units"
for unit in systemd-sysctl systemd-modules-load systemd-remount-fs systemd-timesyncd systemd-udevd systemd-udev-trigger \
    systemd-logind getty@ console-getty kmod-static-nodes; do
    ln -s /dev/null "$units/$unit.service"
done
for unit in dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
    sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount systemd-udevd-kernel.socket \
    systemd-udevd-control.socket tmp.mount; do
    ln -s /dev/null "$units/$unit"
done
cat >"$units/host.target" <<'UNIT'
[Unit]
Requires=basic.target sshd-of-host.service
After=basic.target
UNIT
cat >"$units/sshd-of-host.service" <<UNIT
[Service]
RuntimeDirectory=sshd
ExecStart=/usr/sbin/sshd -D -e -f /etc/ssh/host/sshd_config
UNIT

# A login user may have such files in the home directory. A run as root must not import them in place of Python's modules.
for module in concurrent hmac ipaddress subprocess; do
    echo 'raise SystemExit("a module of the home directory was imported")' >"$root/root/$module.py"
done

mkdir -p "$root/etc/ssh/host"
cp "$folder.ssh/"* "$root/etc/ssh/host/"
chmod 600 "$root/etc/ssh/host/host_key"
printf '%s\n' "$name" >"$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 %s\n' "$name" >"$root/etc/hosts"
rm -f "$root/etc/resolv.conf" "$root/etc/machine-id" "$root/etc/fstab"
: >"$root/etc/resolv.conf"
: >"$root/etc/fstab"
tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
hostname "$name"

mkdir "$root/old"
cd "$root"
pivot_root . old
umount -l /old
rmdir /old
exec setpriv --bounding-set=-sys_time,-sys_module,-sys_boot,-wake_alarm,-mac_admin,-mac_override \
    env -i container=promansible-test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=linux \
    /lib/systemd/systemd --unit=host.target --log-target=console --show-status=no
