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
# our fwpuclnt.dll for management programs; Wine's own knows no engine. A link to Wine's file must not be written through.
rm -f "$WINEPREFIX/drive_c/windows/system32/fwpuclnt.dll"
cp "$from/fwpuclnt.dll" "$WINEPREFIX/drive_c/windows/system32/fwpuclnt.dll"
# Wine runs drivers of one load order group in one winedevice process, and drivers without a group each in its own:
# a driver under test has to be created with group= NetworkProvider to share the engine's. Our ndis.sys is loaded, not
# Wine's own. All of it in one program: each start of one costs the build a second.
values=$(mktemp)
cat >"$values" <<'END'
REGEDIT4

[HKEY_LOCAL_MACHINE\System\CurrentControlSet\Services\wfpengine]
"ImagePath"="C:\\windows\\system32\\drivers\\fwpkclnt.sys"
"Type"=dword:00000001
"Start"=dword:00000003
"ErrorControl"=dword:00000001
"DisplayName"="WFP filter engine (model)"
"Group"="NetworkProvider"

[HKEY_CURRENT_USER\Software\Wine\DllOverrides]
"ndis.sys"="native"
"fwpkclnt.sys"="native"
"fwpuclnt"="native"
END
"$wine" reg.exe import "$values"
rm "$values"
