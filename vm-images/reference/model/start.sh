#!/bin/sh
# Starts the filter engine. Run from init as root with WINEPREFIX set, after the TAP wfp0 and the NIC test0 are up.
set -eu
wine=${WINE:-$(command -v wine64 || echo /usr/lib/wine/wine64)}
# The guest's TCP/IP must hear from the engine alone: what arrives at test0 is for the engine's packet socket only.
# Strict reverse path filtering drops it in the kernel, since every route points to wfp0; and test0 answers no ARP.
set_sysctl() { echo "$2" > "/proc/sys/net/ipv4/conf/$1"; }
set_sysctl test0/rp_filter 1
set_sysctl test0/arp_ignore 8
set_sysctl wfp0/rp_filter 0
set_sysctl all/rp_filter 0
set_sysctl wfp0/route_localnet 1
set_sysctl wfp0/accept_local 1
echo 1 > /proc/sys/net/ipv6/conf/test0/disable_ipv6 2> /dev/null || true
# Wine ends its services with its last ordinary process, and the engine with them: this one never ends.
(sleep infinity | exec "$wine" cmd.exe) > /dev/null 2>&1 &
for _ in 1 2 3; do
    if "$wine" sc.exe start wfpengine; then
        exit 0
    fi
done
echo "wfp-hil: the filter engine does not start" >&2
exit 1
