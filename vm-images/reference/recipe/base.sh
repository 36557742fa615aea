#!/bin/sh
# mmdebstrap's customize hook for the layer that rarely changes: kernel, Wine prefix, pruning.
#   base.sh ROOT [KERNEL-PACKAGE=VERSION]
# Runs outside of ROOT, with apt set up by mmdebstrap; ROOT has /proc, /sys and /dev.
set -eu
root=$1
here=$(cd "$(dirname "$0")" && pwd)

# The kernel's package is unpacked, not installed: installing it would bring an initramfs generator and run it.
kernel=${2:-$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')}
mkdir "$root/var/tmp/kernel"
(cd "$root/var/tmp/kernel" && chmod 777 . && apt-get download "$kernel" >/dev/null && dpkg-deb -x ./*.deb unpacked)
unpacked=$root/var/tmp/kernel/unpacked
version=$(basename "$unpacked"/lib/modules/*)
cp "$unpacked/boot/vmlinuz-$version" "$root/boot/vmlinuz"
echo "${kernel%%=*} $(basename "$root"/var/tmp/kernel/*.deb | cut -d_ -f2)" >"$root/boot/kernel-version"

keep_module() {
    # modprobe prints the files of a module and of all it needs, in the order in which they are to be loaded.
    chroot "$root" modprobe -d "$inside" -S "$version" --show-depends "$1" | awk '$1 == "insmod" { print $2 }'
}
# The tools of the guest are used: the host may have none.
inside=/var/tmp/kernel/unpacked
chroot "$root" depmod -b "$inside" "$version"
group=
: >"$root/boot/initrd-modules"
media=$root/usr/lib/wfp-hil/media-modules
mkdir -p "$media"
: >"$media/order"
sed 's/#.*//' "$here/modules.txt" | while read -r word; do
    case $word in
    '') continue ;;
    '['*) group=$word; continue ;;
    esac
    keep_module "$word" >"$root/var/tmp/kernel/files"
    while read -r file; do
        name=${file#"$inside"}
        if [ "$group" = '[media]' ]; then
            grep -qx "${file##*/}" "$media/order" && continue
            cp "$root$file" "$media/"
            echo "${file##*/}" >>"$media/order"
            continue
        fi
        mkdir -p "$root/usr$(dirname "$name")"
        cp -n "$root$file" "$root/usr$name"
        if [ "$group" = '[initrd]' ]; then echo "/usr$name" >>"$root/boot/initrd-modules"; fi
    done <"$root/var/tmp/kernel/files"
done
cp "$unpacked/lib/modules/$version"/modules.builtin* "$unpacked/lib/modules/$version/modules.order" \
    "$root/usr/lib/modules/$version/"
chroot "$root" depmod "$version"
rm -rf "$root/var/tmp/kernel"

# The Wine prefix, made natively: under emulation it would take minutes. No screen, no Mono, no Gecko.
install -d "$root/var/lib/wfp"
chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 WINEPREFIX=/var/lib/wfp/prefix \
    WINEDEBUG=-all WINEDLLOVERRIDES='mscoree,mshtml,winemenubuilder.exe=' \
    sh -c '/usr/lib/wine/wine64 wineboot -i && /usr/lib/wine/wineserver64 -w'
test -f "$root/var/lib/wfp/prefix/system.reg"

# Wine copies its DLLs into the prefix; links to the originals save half of the disk.
chroot "$root" sh -c '
    dlls=/usr/lib/x86_64-linux-gnu/wine/x86_64-windows
    cd /var/lib/wfp/prefix/drive_c/windows
    find . -type f ! -path './system32/drivers/*' | while read -r file; do
        original=$dlls/${file##*/}
        if [ -f "$original" ] && cmp -s "$file" "$original"; then ln -f "$original" "$file"; fi
    done'

chroot "$root" dpkg-query -W -f '${Package} ${Version}\n' >"$root/boot/packages"
rm -rf "$root"/var/log/* "$root"/var/cache/debconf/* "$root"/root/.cache "$root"/var/lib/dpkg/info "$root"/etc/ssh/ssh_host_*
