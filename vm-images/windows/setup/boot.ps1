# Run as SYSTEM at every boot: a new boot id, the NICs as the profile says, the ways in, and the line that says so.
# After the installation it also finishes that.

#requires -Version 5.1
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
. (Join-Path -Path $PSScriptRoot -ChildPath 'report.ps1')

# First of all, before anybody can ask for it: an id of the last boot would say that there was no reboot.
Set-Content -LiteralPath (Join-Path -Path $HilRoot -ChildPath 'boot-id') -Value ([Guid]::NewGuid().ToString()) -Encoding Ascii

try {
    # Both start by hand, that is here: nobody gets in before the boot id is new. Before the NICs, so that somebody can
    # look when something is wrong with those.
    foreach ($name in 'WinRM', 'sshd') {
        Start-Service -Name $name
    }
    $settings = Get-HilSettings
    & (Join-Path -Path $PSScriptRoot -ChildPath 'network.ps1') -Settings $settings -Addresses
}
catch {
    Send-Line -Text "wfp-hil: failed boot: $($_.Exception.Message)"
    throw
}

$phase = Join-Path -Path $HilSetup -ChildPath 'phase'
if (Test-Path -LiteralPath $phase) {
    Invoke-Stage -Name 'finalise' -Action { & (Join-Path -Path $PSScriptRoot -ChildPath 'finalise.ps1') -Settings $settings }
    Invoke-Stage -Name 'sealed' -Action {
        & (Join-Path -Path $PSScriptRoot -ChildPath 'seal.ps1') -Settings $settings
        Remove-Item -LiteralPath $phase -Force
    }
}
Send-Line -Text 'wfp-hil: ready'
