#!/bin/sh
# Puts the guest's ws2_32.dll in front of Wine's in the prefix $WINEPREFIX. Run at image build, with the built library
# beside this script in build/ (or in the directory given as the first argument).
set -eu
from=${1:-$(dirname "$0")/build}
libraries=${WINE_LIBRARIES:-/usr/lib/x86_64-linux-gnu/wine}
system32="$WINEPREFIX/drive_c/windows/system32"
wine=${WINE:-$(command -v wine64 || echo /usr/lib/wine/wine64)}
# Wine finds the two halves of a library of its own by their name.
ln -sf ws2_32.dll "$libraries/x86_64-windows/ws2_wine.dll"
ln -sf ws2_32.so "$libraries/x86_64-unix/ws2_wine.so"
rm -f "$system32/ws2_wine.dll"
cp "$libraries/x86_64-windows/ws2_32.dll" "$system32/ws2_wine.dll"
"$wine" reg.exe add 'HKCU\Software\Wine\DllOverrides' /v ws2_32 /d native /f
rm -f "$system32/ws2_32.dll"
cp "$from/ws2_32.dll" "$system32/ws2_32.dll"
