# Switches the kernel debugger: off, over the second serial port, or over a NIC of its own (KDNET). Holds after a reboot.
#
#   debug.ps1 -Mode serial
#   debug.ps1 -Mode net -Key 1.2.3.4
#   debug.ps1 -Mode off
#
# COM1 stays with the harness. KDNET takes its NIC away from Windows, so it must be neither mgmt0 nor a test NIC: the
# profile's machine.debugger gives the machine one at bus 0, device 25, function 0, from where 10.0.3.2 is the host.

#requires -Version 5.1
param(
    [Parameter(Mandatory = $true)][ValidateSet('off', 'serial', 'net')][string] $Mode,
    [string] $HostAddress = '10.0.3.2',
    [ValidateRange(49152, 65535)][int] $Port = 50000,
    [ValidatePattern('^[0-9a-z]+(\.[0-9a-z]+){3}$')][string] $Key = '1.2.3.4',
    [ValidatePattern('^\d+\.\d+\.\d+$')][string] $BusParameters = '0.25.0'
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
. (Join-Path -Path $PSScriptRoot -ChildPath 'report.ps1')

if ($Mode -eq 'off') {
    Invoke-Program -Path 'bcdedit.exe' -Arguments '/debug', '{current}', 'off' | Out-Null
    return
}
if ($Mode -eq 'serial') {
    Invoke-Program -Path 'bcdedit.exe' -Arguments '/dbgsettings', 'serial', 'debugport:2', 'baudrate:115200' | Out-Null
}
else {
    $words = '/dbgsettings', 'net', "hostip:$HostAddress", "port:$Port", "key:$Key"
    Invoke-Program -Path 'bcdedit.exe' -Arguments $words | Out-Null
    Invoke-Program -Path 'bcdedit.exe' -Arguments '/set', '{dbgsettings}', 'busparams', $BusParameters | Out-Null
}
Invoke-Program -Path 'bcdedit.exe' -Arguments '/debug', '{current}', 'on' | Out-Null
