# WinRM over HTTPS alone, with the certificate that was made for this image; NTLM, no Basic, nothing unencrypted.

#requires -Version 5.1
param([Parameter(Mandatory = $true)] $Settings)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
. (Join-Path -Path $PSScriptRoot -ChildPath 'report.ps1')

Set-RegistryOfStage -Settings $Settings -Stage 'winrm'

# The built-in account has another name in some languages; known by its number, it gets the one that we log in with.
if ($Settings.user -eq 'Administrator') {
    $account = Get-LocalUser | Where-Object -FilterScript { "$($_.SID)" -like 'S-1-5-21-*-500' } | Select-Object -First 1
    if ($account.Name -ne $Settings.user) {
        Rename-LocalUser -SID $account.SID -NewName $Settings.user
    }
}

# The drive WSMan: asks whether to start the service, so it runs before. At a boot it is boot.ps1 that starts it.
Set-Service -Name 'WinRM' -StartupType Manual
Start-Service -Name 'WinRM'

# finalise.ps1 removes the file; the certificate stays in the store.
$pfx = Join-Path -Path $HilSetup -ChildPath 'winrm.pfx'
$password = ConvertTo-SecureString -String $Settings.pfx_password -AsPlainText -Force
$certificate = Import-PfxCertificate -FilePath $pfx -CertStoreLocation 'Cert:\LocalMachine\My' -Password $password

foreach ($listener in @(Get-ChildItem -Path 'WSMan:\localhost\Listener')) {
    Remove-Item -Path "WSMan:\localhost\Listener\$($listener.Name)" -Recurse -Force
}
$listeners = 'WSMan:\localhost\Listener'
$thumbprint = $certificate.Thumbprint
New-Item -Path $listeners -Transport HTTPS -Address * -Port $Settings.winrm_port -HostName $Settings.computer_name -CertificateThumbPrint $thumbprint -Force | Out-Null

Set-Item -Path 'WSMan:\localhost\Service\AllowUnencrypted' -Value $false -Force
Set-Item -Path 'WSMan:\localhost\Service\Auth\Basic' -Value $false -Force
Set-Item -Path 'WSMan:\localhost\Service\Auth\Negotiate' -Value $true -Force
# A verifier run or a dump takes its time; shells outlive the connections that made them.
Set-Item -Path 'WSMan:\localhost\MaxTimeoutms' -Value 14400000 -Force
Set-Item -Path 'WSMan:\localhost\Shell\IdleTimeout' -Value 7200000 -Force
Set-Item -Path 'WSMan:\localhost\Shell\MaxMemoryPerShellMB' -Value 2048 -Force

# Windows' own rules let in from everywhere; this one from the management NIC alone.
Get-NetFirewallRule -Name 'WINRM-HTTP-In-TCP*' -ErrorAction SilentlyContinue | Disable-NetFirewallRule
Set-InboundRule -Name 'wfp-hil-winrm' -Conditions @{
    Protocol       = 'TCP'
    LocalPort      = $Settings.winrm_port
    InterfaceAlias = $Settings.management.name
}
Restart-Service -Name 'WinRM' -Force
