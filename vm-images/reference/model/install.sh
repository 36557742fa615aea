#!/bin/sh
# Puts the model into the Wine prefix $WINEPREFIX and registers the engine's service. Run at image build, with the
# built .sys files beside this script in build/ (or in the directory given as the first argument).
set -eu
from=${1:-$(dirname "$0")/build}
drivers="$WINEPREFIX/drive_c/windows/system32/drivers"
wine=${WINE:-$(command -v wine64 || echo /usr/lib/wine/wine64)}
mkdir -p "$drivers"
for file in fwpkclnt.sys ndis.sys; do
    rm -f "$drivers/$file"
    cp "$from/$file" "$drivers/$file"
done
# Wine runs drivers of one load order group in one winedevice process, and drivers without a group each in its own:
# a driver under test has to be created with group= NetworkProvider to share the engine's.
"$wine" reg.exe add 'HKLM\System\CurrentControlSet\Services\wfpengine' /v ImagePath /d 'C:\windows\system32\drivers\fwpkclnt.sys' /f
"$wine" reg.exe add 'HKLM\System\CurrentControlSet\Services\wfpengine' /v Type /t REG_DWORD /d 1 /f
"$wine" reg.exe add 'HKLM\System\CurrentControlSet\Services\wfpengine' /v Start /t REG_DWORD /d 3 /f
"$wine" reg.exe add 'HKLM\System\CurrentControlSet\Services\wfpengine' /v ErrorControl /t REG_DWORD /d 1 /f
"$wine" reg.exe add 'HKLM\System\CurrentControlSet\Services\wfpengine' /v DisplayName /d 'WFP filter engine (model)' /f
"$wine" reg.exe add 'HKLM\System\CurrentControlSet\Services\wfpengine' /v Group /d NetworkProvider /f
# our ndis.sys, not Wine's own
"$wine" reg.exe add 'HKCU\Software\Wine\DllOverrides' /v ndis.sys /d native /f
"$wine" reg.exe add 'HKCU\Software\Wine\DllOverrides' /v fwpkclnt.sys /d native /f
# our fwpuclnt.dll for management programs; Wine's own knows no engine. A link to Wine's file must not be written through.
rm -f "$WINEPREFIX/drive_c/windows/system32/fwpuclnt.dll"
cp "$from/fwpuclnt.dll" "$WINEPREFIX/drive_c/windows/system32/fwpuclnt.dll"
"$wine" reg.exe add 'HKCU\Software\Wine\DllOverrides' /v fwpuclnt /d native /f
