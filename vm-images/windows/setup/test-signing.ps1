# Lets Windows load drivers that are signed with the certificate of this image.

#requires -Version 5.1
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
. (Join-Path -Path $PSScriptRoot -ChildPath 'report.ps1')

$secure = $false
try {
    $secure = Confirm-SecureBootUEFI
}
catch [System.PlatformNotSupportedException] {
    # A machine without UEFI has no Secure Boot either.
    $secure = $false
}
if ($secure) {
    throw 'Secure Boot is on: Windows then refuses test signing. The profile has secure_boot = false for it.'
}

$certificate = Join-Path -Path $HilSetup -ChildPath 'test-signing.cer'
foreach ($store in 'Root', 'TrustedPublisher') {
    Import-Certificate -FilePath $certificate -CertStoreLocation "Cert:\LocalMachine\$store" | Out-Null
}
Invoke-Program -Path 'bcdedit.exe' -Arguments '/set', '{current}', 'testsigning', 'on' | Out-Null
