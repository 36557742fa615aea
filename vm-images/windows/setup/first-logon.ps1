# Makes a fresh Windows into a guest: run once by the answer file at the first logon, and again by hand after a failure.
# Each step can be repeated. It ends with a reboot; boot.ps1 then finishes the work as SYSTEM.

#requires -Version 5.1
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

New-Item -Path 'C:\wfp-hil' -ItemType Directory -Force | Out-Null
. (Join-Path -Path $PSScriptRoot -ChildPath 'report.ps1')

$Settings = $null
Invoke-Stage -Name 'first-logon' -Action { $script:Settings = Get-HilSettings }
Invoke-Stage -Name 'network-private' -Action { & (Join-Path -Path $PSScriptRoot -ChildPath 'network.ps1') -Settings $Settings }
Invoke-Stage -Name 'winrm' -Action { & (Join-Path -Path $PSScriptRoot -ChildPath 'winrm.ps1') -Settings $Settings }
Invoke-Stage -Name 'ssh' -Action { & (Join-Path -Path $PSScriptRoot -ChildPath 'ssh.ps1') -Settings $Settings }
Invoke-Stage -Name 'guest-tools' -Action { & (Join-Path -Path $PSScriptRoot -ChildPath 'guest-tools.ps1') -Settings $Settings }
Invoke-Stage -Name 'test-signing' -Action { & (Join-Path -Path $PSScriptRoot -ChildPath 'test-signing.ps1') }
Invoke-Stage -Name 'crash-settings' -Action { & (Join-Path -Path $PSScriptRoot -ChildPath 'crash.ps1') -Settings $Settings }
Invoke-Stage -Name 'quiet' -Action { & (Join-Path -Path $PSScriptRoot -ChildPath 'quiet.ps1') -Settings $Settings }
Invoke-Stage -Name 'probe-ready' -Action { & (Join-Path -Path $PSScriptRoot -ChildPath 'probe.ps1') -Settings $Settings }

# Test signing and the crash settings hold after a reboot only. A few seconds later, so that Setup sees this script end.
Invoke-Program -Path 'shutdown.exe' -Arguments '/r', '/t', '15', '/d', 'p:2:4' | Out-Null
