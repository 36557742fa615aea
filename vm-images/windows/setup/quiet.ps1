# Nothing updates, sleeps, installs itself or talks on the test NICs of its own accord. The firewall stays on.

#requires -Version 5.1
param([Parameter(Mandatory = $true)] $Settings)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
. (Join-Path -Path $PSScriptRoot -ChildPath 'report.ps1')

Set-RegistryOfStage -Settings $Settings -Stage 'quiet'

# Updates; the search index; telemetry; SSDP and UPnP; time from the network (the host sets the clock); maps.
# Never BFE nor mpssvc: they are what is under test.
foreach ($name in 'wuauserv', 'UsoSvc', 'WSearch', 'DiagTrack', 'SSDPSRV', 'upnphost', 'W32Time', 'MapsBroker', 'SysMain') {
    $service = Get-Service -Name $name -ErrorAction SilentlyContinue
    if ($null -ne $service) {
        try {
            # Not stopped: that can take for ever, and a reboot follows.
            Set-Service -Name $name -StartupType Disabled
        }
        catch {
            # Windows guards some of its own services, more of them with each version.
            Send-Line -Text "wfp-hil: note service $name stays: $($_.Exception.Message)"
        }
    }
}

foreach ($timeout in 'monitor-timeout-ac', 'disk-timeout-ac', 'standby-timeout-ac', 'hibernate-timeout-ac') {
    Invoke-Program -Path 'powercfg.exe' -Arguments '/change', $timeout, '0' | Out-Null
}
# Hibernation stays possible for certification work; else its file only takes room.
$hibernation = if ($Settings.hibernation) { 'on' } else { 'off' }
Invoke-Program -Path 'powercfg.exe' -Arguments '/hibernate', $hibernation | Out-Null

# Defender stays on, for it is a client of the filtering platform like others; it leaves the drivers under test alone.
if (Get-Command -Name 'Add-MpPreference' -ErrorAction SilentlyContinue) {
    try {
        Add-MpPreference -ExclusionPath $HilRoot
    }
    catch {
        Send-Line -Text "wfp-hil: note Defender took no exclusion: $($_.Exception.Message)"
    }
}

Set-NetFirewallProfile -Profile 'Domain', 'Private', 'Public' -Enabled True
