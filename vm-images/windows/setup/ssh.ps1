# OpenSSH's server with the host key that was made for this image, and the user key alone as the way in.

#requires -Version 5.1
param([Parameter(Mandatory = $true)] $Settings)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
. (Join-Path -Path $PSScriptRoot -ChildPath 'report.ps1')

# Server 2025 has it already. A package from the CD is for guests without a network; else it comes from Windows Update.
function Install-Server {
    if ($null -eq $Settings.openssh) {
        $capability = Get-WindowsCapability -Online -Name 'OpenSSH.Server*' | Select-Object -First 1
        if ($null -eq $capability) {
            throw 'This Windows does not offer OpenSSH.Server: build the image with --openssh and a package of Win32-OpenSSH.'
        }
        try {
            Add-WindowsCapability -Online -Name $capability.Name | Out-Null
        }
        catch {
            throw "OpenSSH.Server could not be had from Windows Update, build the image with --openssh: $($_.Exception.Message)"
        }
        return
    }
    $package = Join-Path -Path $HilSetup -ChildPath $Settings.openssh
    if ($package -like '*.msi') {
        Invoke-Program -Path 'msiexec.exe' -Arguments '/i', $package, '/qn', '/norestart', 'ADDLOCAL=Server' -Allowed 0, 3010 | Out-Null
        return
    }
    $target = 'C:\Program Files\OpenSSH'
    $unpacked = Join-Path -Path $HilSetup -ChildPath 'openssh'
    Expand-Archive -LiteralPath $package -DestinationPath $unpacked -Force
    $binary = Get-ChildItem -Path $unpacked -Filter 'sshd.exe' -Recurse | Select-Object -First 1
    if ($null -eq $binary) {
        throw "There is no sshd.exe in '$($Settings.openssh)': wanted OpenSSH-Win64.zip of Win32-OpenSSH."
    }
    New-Item -Path $target -ItemType Directory -Force | Out-Null
    Copy-Item -Path (Join-Path -Path $binary.DirectoryName -ChildPath '*') -Destination $target -Recurse -Force
    & (Join-Path -Path $target -ChildPath 'install-sshd.ps1') -Confirm:$false
}

if (-not (Get-Service -Name 'sshd' -ErrorAction SilentlyContinue)) {
    Install-Server
}
if (-not (Get-Service -Name 'sshd' -ErrorAction SilentlyContinue)) {
    throw 'OpenSSH was installed, but there is no service sshd.'
}
# Capability and package may have started it with keys of their own.
Stop-Service -Name 'sshd' -Force

$folder = 'C:\ProgramData\ssh'
New-Item -Path $folder -ItemType Directory -Force | Out-Null
Get-ChildItem -Path $folder -Filter 'ssh_host_*' | Remove-Item -Force
foreach ($name in 'sshd_config', 'ssh_host_ed25519_key', 'ssh_host_ed25519_key.pub', 'administrators_authorized_keys') {
    $target = Join-Path -Path $folder -ChildPath $name
    Copy-Item -LiteralPath (Join-Path -Path $HilSetup -ChildPath $name) -Destination $target -Force
    # Set by number, for the names are translated: owner and full access for SYSTEM and the administrators, nobody else.
    # sshd refuses keys that others may read.
    Invoke-Program -Path 'icacls.exe' -Arguments $target, '/setowner', '*S-1-5-32-544' | Out-Null
    Invoke-Program -Path 'icacls.exe' -Arguments $target, '/inheritance:r', '/grant:r', '*S-1-5-32-544:F', '*S-1-5-18:F' | Out-Null
}

# At a boot it is boot.ps1 that starts it.
Set-Service -Name 'sshd' -StartupType Manual
Start-Service -Name 'sshd'

Get-NetFirewallRule -Name 'OpenSSH-Server-In-TCP*' -ErrorAction SilentlyContinue | Disable-NetFirewallRule
Set-InboundRule -Name 'wfp-hil-ssh' -Conditions @{
    Protocol       = 'TCP'
    LocalPort      = $Settings.ssh_port
    InterfaceAlias = $Settings.management.name
}
