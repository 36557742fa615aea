#!/bin/sh
# Puts the guest's ws2_32.dll and iphlpapi.dll in front of Wine's in the prefix $WINEPREFIX. Run at image build, with the
# built libraries beside this script in build/ (or in the directory given as the first argument).
set -eu
from=${1:-$(dirname "$0")/build}
libraries=${WINE_LIBRARIES:-/usr/lib/x86_64-linux-gnu/wine}
system32="$WINEPREFIX/drive_c/windows/system32"
wine=${WINE:-$(command -v wine64 || echo /usr/lib/wine/wine64)}
# Wine finds the two halves of a library of its own by their name.
ln -sf ws2_32.dll "$libraries/x86_64-windows/ws2_wine.dll"
ln -sf ws2_32.so "$libraries/x86_64-unix/ws2_wine.so"
ln -sf iphlpapi.dll "$libraries/x86_64-windows/iphlp_wine.dll" # all of it is in this half
for pair in ws2_32:ws2_wine iphlpapi:iphlp_wine; do
    ours=${pair%:*} wines=${pair#*:}
    rm -f "$system32/$wines.dll"
    cp "$libraries/x86_64-windows/$ours.dll" "$system32/$wines.dll"
    rm -f "$system32/$ours.dll"
    cp "$from/$ours.dll" "$system32/$ours.dll"
done
values=$(mktemp)
cat >"$values" <<'END'
REGEDIT4

[HKEY_CURRENT_USER\Software\Wine\DllOverrides]
"ws2_32"="native"
"iphlpapi"="native"
END
"$wine" reg.exe import "$values"
rm "$values"
