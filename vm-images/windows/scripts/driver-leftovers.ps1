# Says as JSON what is left of a driver after it was uninstalled: services, files, driver store entries, registry keys.
# Nothing is removed. WFP objects are looked for by the host, in what 'netsh wfp show state' says.
#
#   driver-leftovers.ps1 -Service wfpcallout -File wfpcallout.sys -Inf wfpcallout.inf

#requires -Version 5.1
param(
    [Parameter(Mandatory = $true)][ValidatePattern('^[A-Za-z0-9_.-]+$')][string] $Service,
    [Parameter(Mandatory = $true)][ValidatePattern('^[A-Za-z0-9_. -]+$')][string] $File,
    [Parameter(Mandatory = $true)][ValidatePattern('^[A-Za-z0-9_. -]+$')][string] $Inf
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$left = [ordered]@{ services = @(); files = @(); packages = @(); keys = @() }

if ($null -ne (Get-CimInstance -ClassName Win32_SystemDriver -Filter "Name='$Service'")) {
    $left.services += $Service
}

$system = Join-Path -Path $env:SystemRoot -ChildPath 'System32'
$copied = Join-Path -Path (Join-Path -Path $system -ChildPath 'drivers') -ChildPath $File
if (Test-Path -LiteralPath $copied) {
    $left.files += $copied
}
# A package in the driver store has a folder of its own, named after its INF, the architecture and a hash.
$store = Join-Path -Path (Join-Path -Path $system -ChildPath 'DriverStore') -ChildPath 'FileRepository'
foreach ($folder in Get-ChildItem -LiteralPath $store -Directory -Filter "${Inf}_amd64_*") {
    $left.packages += $folder.FullName
}
# Windows keeps the INF of a package as oemN.inf; whose it is stands only inside.
$published = Join-Path -Path $env:SystemRoot -ChildPath 'INF'
$whole = '(^|[^A-Za-z0-9_.-])' + [Regex]::Escape($File) + '($|[^A-Za-z0-9_.-])'
foreach ($copy in Get-ChildItem -LiteralPath $published -File -Filter 'oem*.inf') {
    if (Select-String -LiteralPath $copy.FullName -Pattern $whole -Quiet) {
        $left.packages += $copy.FullName
    }
}

$candidates = @(
    "HKLM:\SYSTEM\CurrentControlSet\Services\$Service"
    "HKLM:\SYSTEM\CurrentControlSet\Services\EventLog\System\$Service"
)
foreach ($key in $candidates) {
    if (Test-Path -LiteralPath $key) {
        $left.keys += $key
    }
}
$database = 'HKLM:\SYSTEM\DriverDatabase\DriverPackages'
if (Test-Path -LiteralPath $database) {
    foreach ($key in Get-ChildItem -LiteralPath $database) {
        if ($key.PSChildName -like "${Inf}_amd64_*") {
            $left.keys += "$database\$($key.PSChildName)"
        }
    }
}
ConvertTo-Json -InputObject $left -Compress
