# Says as JSON what Windows has loaded for a driver's service: the file behind it, its hash, version and signature.
#
#   driver-state.ps1 -Service wfpcallout

#requires -Version 5.1
param([Parameter(Mandatory = $true)][ValidatePattern('^[A-Za-z0-9_.-]+$')][string] $Service)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$state = [ordered]@{
    exists = $false; running = $false; path = ''; start = -1; sha256 = ''; version = ''; signature = ''; signer = ''
}
$driver = Get-CimInstance -ClassName Win32_SystemDriver -Filter "Name='$Service'"
if ($null -ne $driver) {
    $state.exists = $true
    $state.running = [bool] $driver.Started
    $key = Get-Item -LiteralPath "HKLM:\SYSTEM\CurrentControlSet\Services\$Service"
    $state.start = [int] $key.GetValue('Start', -1)
    $path = [string] $key.GetValue('ImagePath', $driver.PathName)
    # The kernel's spellings of a path: \??\C:\x, \SystemRoot\x, and x for what is below the Windows folder.
    $path = $path -replace '^\\\?\?\\', ''
    $path = $path -replace '^\\SystemRoot\\', ''
    if ($path -notmatch '^[A-Za-z]:\\') {
        $path = Join-Path -Path $env:SystemRoot -ChildPath $path
    }
    $state.path = $path
    if (Test-Path -LiteralPath $path) {
        $state.sha256 = (Get-FileHash -LiteralPath $path -Algorithm SHA256).Hash.ToLowerInvariant()
        $info = (Get-Item -LiteralPath $path).VersionInfo
        $parts = $info.FileMajorPart, $info.FileMinorPart, $info.FileBuildPart, $info.FilePrivatePart
        $state.version = $parts -join '.'
        $signature = Get-AuthenticodeSignature -LiteralPath $path
        $state.signature = [string] $signature.Status
        if ($null -ne $signature.SignerCertificate) {
            $state.signer = $signature.SignerCertificate.Thumbprint.ToLowerInvariant()
        }
    }
}
ConvertTo-Json -InputObject $state -Compress
