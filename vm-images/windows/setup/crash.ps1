# A crash ends in a kernel dump and a reboot, never in a screen that waits for somebody.

#requires -Version 5.1
param([Parameter(Mandatory = $true)] $Settings)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
. (Join-Path -Path $PSScriptRoot -ChildPath 'report.ps1')

Set-RegistryOfStage -Settings $Settings -Stage 'crash-settings'
$control = 'HKLM:\SYSTEM\CurrentControlSet\Control\CrashControl'
Set-RegistryValue -Path $control -Name 'DumpFileSize' -Type DWord -Value $Settings.dump_mib

# After a crash Windows boots as always, instead of into its recovery.
Invoke-Program -Path 'bcdedit.exe' -Arguments '/set', '{current}', 'bootstatuspolicy', 'ignoreallfailures' | Out-Null
Invoke-Program -Path 'bcdedit.exe' -Arguments '/set', '{current}', 'recoveryenabled', 'no' | Out-Null

# Driver Verifier is there and watches nothing: a run that wants it switches it on.
if (-not (Test-Path -LiteralPath 'C:\Windows\System32\verifier.exe')) {
    throw 'There is no verifier.exe.'
}
$memory = 'HKLM:\SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management'
if ($null -ne (Get-RegistryValue -Path $memory -Name 'VerifyDrivers')) {
    # 2: done, and holds after the next boot.
    Invoke-Program -Path 'verifier.exe' -Arguments '/reset' -Allowed 0, 2 | Out-Null
}
