# Takes away what only the installation needed, above all its secrets. The passwords that stay are Windows' own hashes.

#requires -Version 5.1
param([Parameter(Mandatory = $true)] $Settings)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
. (Join-Path -Path $PSScriptRoot -ChildPath 'report.ps1')

# The automatic logon: its switches, and its password wherever Windows kept it.
$winlogon = 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon'
Set-RegistryValue -Path $winlogon -Name 'AutoAdminLogon' -Type String -Value '0'
foreach ($name in 'DefaultPassword', 'AutoLogonCount', 'AutoLogonSID') {
    if ($null -ne (Get-RegistryValue -Path $winlogon -Name $name)) {
        Remove-ItemProperty -LiteralPath $winlogon -Name $name -Force
    }
}
if (-not ('WfpHil.Lsa' -as [type])) {
    Add-Type -Path (Join-Path -Path $PSScriptRoot -ChildPath 'lsa.cs')
}
[WfpHil.Lsa]::RemoveSecret('DefaultPassword')

# Copies that Setup makes of the answer file.
foreach ($copy in 'C:\unattend.xml', 'C:\Windows\Panther\unattend.xml', 'C:\Windows\Panther\unattend-original.xml', 'C:\Windows\Panther\Unattend\unattend.xml', 'C:\Windows\System32\Sysprep\unattend.xml') {
    if (Test-Path -LiteralPath $copy) {
        Remove-Item -LiteralPath $copy -Force
    }
}
foreach ($name in 'winrm.pfx', 'ssh_host_ed25519_key') {
    $file = Join-Path -Path $HilSetup -ChildPath $name
    if (Test-Path -LiteralPath $file) {
        Remove-Item -LiteralPath $file -Force
    }
}

# The account that only the first-run pages wanted.
if ($Settings.user -ne $Settings.helper_account -and (Get-LocalUser -Name $Settings.helper_account -ErrorAction SilentlyContinue)) {
    Remove-LocalUser -Name $Settings.helper_account
}
# The password of the remaining one must not run out in a kept image.
Set-LocalUser -Name $Settings.user -PasswordNeverExpires $true
