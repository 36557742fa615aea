# What the harness needs at every boot: the rules by which stations reach the probe and the fence's ping is answered, and
# the task that renews the boot id.

#requires -Version 5.1
param([Parameter(Mandatory = $true)] $Settings)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
. (Join-Path -Path $PSScriptRoot -ChildPath 'report.ps1')

# By program: the firewall is on for everything else on the test NICs.
Set-InboundRule -Name 'wfp-hil-probe' -Conditions @{ Program = 'C:\wfp-hil\wfpprobe.exe' }
Set-InboundRule -Name 'wfp-hil-ping4' -Conditions @{ Protocol = 'ICMPv4'; IcmpType = '8' }
Set-InboundRule -Name 'wfp-hil-ping6' -Conditions @{ Protocol = 'ICMPv6'; IcmpType = '128' }

# What SYSTEM runs must not be for everybody to change.
Invoke-Program -Path 'icacls.exe' -Arguments $HilSetup, '/inheritance:r', '/grant:r', '*S-1-5-32-544:(OI)(CI)F', '*S-1-5-18:(OI)(CI)F' | Out-Null

# What boot.ps1 has still to do, once.
Set-Content -LiteralPath (Join-Path -Path $HilSetup -ChildPath 'phase') -Value 'finalise' -Encoding Ascii

$boot = Join-Path -Path $HilSetup -ChildPath 'boot.ps1'
$task = @{
    TaskName  = 'wfp-hil boot'
    Trigger   = New-ScheduledTaskTrigger -AtStartup
    Action    = New-ScheduledTaskAction -Execute 'powershell.exe' -Argument "-NoProfile -ExecutionPolicy Bypass -File $boot"
    # SYSTEM by number, for its name is translated.
    Principal = New-ScheduledTaskPrincipal -UserId 'S-1-5-18' -LogonType ServiceAccount -RunLevel Highest
    Settings  = New-ScheduledTaskSettingsSet -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries -ExecutionTimeLimit ([TimeSpan]::FromHours(1)) -Priority 4
    Force     = $true
}
Register-ScheduledTask @task | Out-Null
