# Drivers and the guest agent from the virtio medium, where the machine has one: a way in without any network, and the
# devices by which a crash is reported and dumped.

#requires -Version 5.1
param([Parameter(Mandatory = $true)] $Settings)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
. (Join-Path -Path $PSScriptRoot -ChildPath 'report.ps1')

$medium = Get-PSDrive -PSProvider FileSystem | ForEach-Object -Process { $_.Root } | Where-Object -FilterScript {
    Test-Path -LiteralPath (Join-Path -Path $_ -ChildPath "vioserial\$($Settings.virtio_folder)\amd64")
} | Select-Object -First 1
if ($null -eq $medium) {
    Send-Line -Text 'wfp-hil: note no virtio medium: no guest agent'
    return
}

# vioserial carries the agent, pvpanic tells of a crash, fwcfg lets the host write a dump, NetKVM is for virtio NICs.
foreach ($driver in 'vioserial', 'pvpanic', 'fwcfg', 'NetKVM') {
    $folder = Join-Path -Path $medium -ChildPath "$driver\$($Settings.virtio_folder)\amd64"
    foreach ($inf in @(Get-ChildItem -Path $folder -Filter '*.inf' -ErrorAction SilentlyContinue)) {
        # 259: nothing to do, the device is not there or has the driver already; 3010: a reboot completes it.
        Invoke-Program -Path 'pnputil.exe' -Arguments '/add-driver', $inf.FullName, '/install' -Allowed 0, 259, 3010 | Out-Null
    }
}

$agent = Join-Path -Path $medium -ChildPath 'guest-agent\qemu-ga-x86_64.msi'
if (-not (Test-Path -LiteralPath $agent)) {
    throw "The virtio medium on $medium has no guest-agent\qemu-ga-x86_64.msi."
}
Invoke-Program -Path 'msiexec.exe' -Arguments '/i', $agent, '/qn', '/norestart' -Allowed 0, 3010 | Out-Null
