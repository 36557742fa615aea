# Holds the guest, after its reboot, against what was asked for: what does not hold ends the installation.

#requires -Version 5.1
param([Parameter(Mandatory = $true)] $Settings)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
. (Join-Path -Path $PSScriptRoot -ChildPath 'report.ps1')

$wrong = New-Object -TypeName System.Collections.Generic.List[string]

# The options that the kernel was started with; bcdedit's own words are translated.
$options = Get-RegistryValue -Path 'HKLM:\SYSTEM\CurrentControlSet\Control' -Name 'SystemStartOptions'
if ("$options" -notmatch 'TESTSIGNING') {
    $wrong.Add("Windows was not started with test signing, but with '$options'")
}

foreach ($stage in $Settings.registry.PSObject.Properties) {
    foreach ($row in $stage.Value) {
        $is = Get-RegistryValue -Path $row.path -Name $row.name
        if ("$is" -ne "$($row.value)") {
            $wrong.Add("$($row.path) has $($row.name) = '$is', wanted '$($row.value)'")
        }
    }
}

foreach ($row in @(@('WinRM', $Settings.winrm_port), @('sshd', $Settings.ssh_port))) {
    if ((Get-Service -Name $row[0]).Status -ne 'Running') {
        $wrong.Add("service $($row[0]) does not run")
    }
    if (-not (Get-NetTCPConnection -State Listen -LocalPort $row[1] -ErrorAction SilentlyContinue)) {
        $wrong.Add("nobody listens on port $($row[1])")
    }
}
foreach ($switch in 'Service\AllowUnencrypted', 'Service\Auth\Basic') {
    if ((Get-Item -Path "WSMan:\localhost\$switch").Value -ne 'false') {
        $wrong.Add("WinRM has $switch on")
    }
}

foreach ($firewall in @(Get-NetFirewallProfile -PolicyStore ActiveStore)) {
    if ("$($firewall.Enabled)" -ne 'True') {
        $wrong.Add("the firewall is off for profile $($firewall.Name)")
    }
}
foreach ($connection in @(Get-NetConnectionProfile -ErrorAction SilentlyContinue)) {
    if ("$($connection.NetworkCategory)" -eq 'Public') {
        $wrong.Add("network '$($connection.Name)' on $($connection.InterfaceAlias) is public")
    }
}

if ($wrong.Count -gt 0) {
    throw ($wrong -join '; ')
}
