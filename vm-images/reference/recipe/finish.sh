#!/bin/sh
# Make the disk from the base layer and the files of this build.
#   finish.sh BASE.TAR OVERLAY OUT INITRD-INIT
# OVERLAY is laid over the base as it is (owner: root). OVERLAY/var/lib/wfp/model, where it exists, is the built
# model, winsock beside it: their install.sh run inside with WINEPREFIX set. OUT receives disk.raw, vmlinuz, initrd/ and packages.
# Runs as root, or as root of an ordinary user's namespace, in a mount and process namespace of its own.
set -eu
base=$1 overlay=$2 out=$3 first=$4
root=$out/root
mkdir "$root"
# No device nodes: an ordinary user may not make them, and the guest's kernel fills /dev by itself.
tar -C "$root" --exclude='./dev/*' -xf "$base"
cp -r --no-preserve=ownership "$overlay/." "$root/"
chmod 755 "$root"

for folder in proc sys dev run tmp; do mkdir -p "$root/$folder"; done
ln -sf /proc/self/mounts "$root/etc/mtab"
# The same path names a file for SFTP as for OpenSSH on Windows: /C:/wfp-hil/driver.sys.
ln -sfn /var/lib/wfp/prefix/drive_c "$root/C:"
mkdir -p "$root/var/lib/wfp/prefix/drive_c/wfp-hil" "$root/var/empty" "$root/run/sshd"
if ! grep -q '^Administrator:' "$root/etc/passwd"; then
    sed -i '1i Administrator:x:0:0:Administrator:/root:/bin/sh' "$root/etc/passwd"
    sed -i '1i Administrator:*:19000:0:99999:7:::' "$root/etc/shadow"
fi
chmod 700 "$root/root" "$root/root/.ssh" "$root/etc/wfp-hil"
chmod 600 "$root/root/.ssh/authorized_keys" "$root"/etc/ssh/ssh_host_* "$root"/etc/wfp-hil/*
chmod 755 "$root"/usr/lib/wfp-hil/init

if [ -f "$root/var/lib/wfp/model/install.sh" ]; then
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 WINEDEBUG=fixme-all \
        WINEPREFIX=/var/lib/wfp/prefix WINEDLLOVERRIDES='mscoree,mshtml,winemenubuilder.exe=' \
        sh -c 'for part in model winsock; do
            [ -f /var/lib/wfp/$part/install.sh ] || continue
            cd /var/lib/wfp/$part && sh ./install.sh </dev/null || exit 1
        done; /usr/lib/wine/wineserver64 -w'
    umount "$root/proc"
    umount -l "$root/dev"
fi
# Wine's services that this guest has no use for are disabled: event log, plug and play, USB and input devices.
registry=$root/var/lib/wfp/prefix/system.reg
awk '
    /^\[/ { off = ($0 ~ /Services\\\\(Eventlog|PlugPlay|winebus|winehid|wineusb|winexinput)\]/) }
    off && /^"Start"=/ { $0 = "\"Start\"=dword:00000004" }
    { print }
' "$registry" >"$registry.new"
mv "$registry.new" "$registry"
chroot "$root" python3 -m compileall -q -j 2 /usr/lib/wfp-hil /usr/lib/python3/dist-packages /usr/lib/python3.11 || true

cp "$root/boot/vmlinuz" "$out/vmlinuz"
cp "$root/boot/packages" "$out/packages"
cp "$root/boot/kernel-version" "$out/kernel-version"
mkdir -p "$out/initrd/bin" "$out/initrd/dev" "$out/initrd/proc" "$out/initrd/root" "$out/initrd/lib"
cp "$root/bin/busybox" "$out/initrd/bin/busybox"
install -m 755 "$first" "$out/initrd/init"
# Debian's busybox is linked against libc and libresolv.
cp -L "$root/lib64/ld-linux-x86-64.so.2" "$out/initrd/lib/"
ln -s lib "$out/initrd/lib64"
for library in libc.so.6 libresolv.so.2; do cp -L "$root/usr/lib/x86_64-linux-gnu/$library" "$out/initrd/lib/"; done
: >"$out/initrd/modules"
awk '!seen[$0]++' "$root/boot/initrd-modules" | while read -r module; do
    cp "$root$module" "$out/initrd/lib/"
    echo "/lib/${module##*/}" >>"$out/initrd/modules"
done
rm -rf "$root/boot" "$root/var/lib/apt" "$root/var/lib/dpkg" "$root/usr/share/perl5"

used=$(du -sm "$root" | cut -f1)
truncate -s "$((used + 1100))M" "$out/disk.raw"
mke2fs -q -t ext4 -m 0 -J size=8 -E lazy_itable_init=1,root_owner=0:0 -d "$root" "$out/disk.raw"
rm -rf "$root"
chmod -R go+rX "$out"
