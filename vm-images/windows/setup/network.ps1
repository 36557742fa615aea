# Names, addresses and habits of the NICs, found by their MAC addresses. Run at the installation and at every boot, for a
# machine may come up with another model of NIC, which is a new adapter to Windows. Addresses come with the first boot
# only: until then the default route is that of the management NIC, where there is a network for Windows Update.

#requires -Version 5.1
param(
    [Parameter(Mandatory = $true)] $Settings,
    [switch] $Addresses
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
. (Join-Path -Path $PSScriptRoot -ChildPath 'report.ps1')

# The adapter with this MAC address under its name, or $null when the machine has none.
function Get-NamedAdapter {
    param([Parameter(Mandatory = $true)] $Nic)

    $adapter = Get-NetAdapter | Where-Object -FilterScript {
        $_.MacAddress -eq $Nic.mac -and $_.HardwareInterface
    } | Select-Object -First 1
    if ($null -ne $adapter -and $adapter.Name -ne $Nic.name) {
        try {
            Rename-NetAdapter -Name $adapter.Name -NewName $Nic.name
            $adapter = Get-NetAdapter -Name $Nic.name
        }
        catch {
            # An adapter that was there before still holds the name. Nothing below goes by the name of a test NIC.
            Send-Line -Text "wfp-hil: note $($Nic.name) keeps the name '$($adapter.Name)': $($_.Exception.Message)"
        }
    }
    return $adapter
}

# One static address, if it is not there yet, and no other one.
function Set-StaticAddress {
    param(
        [Parameter(Mandatory = $true)][int] $InterfaceIndex,
        [Parameter(Mandatory = $true)][ValidateSet('IPv4', 'IPv6')][string] $Family,
        [Parameter(Mandatory = $true)] $Wanted
    )

    Set-NetIPInterface -InterfaceIndex $InterfaceIndex -AddressFamily $Family -Dhcp Disabled -RouterDiscovery Disabled
    $prefix = if ($Family -eq 'IPv4') { '0.0.0.0/0' } else { '::/0' }
    $held = @(Get-NetIPAddress -InterfaceIndex $InterfaceIndex -AddressFamily $Family -ErrorAction SilentlyContinue)
    foreach ($address in $held) {
        $right = $address.IPAddress -eq $Wanted.address -and $address.PrefixLength -eq $Wanted.prefix
        if ($address.PrefixOrigin -eq 'Manual' -and -not $right) {
            $address | Remove-NetIPAddress -Confirm:$false
        }
    }
    if (@($held | Where-Object -FilterScript { $_.IPAddress -eq $Wanted.address }).Count -eq 0) {
        New-NetIPAddress -InterfaceIndex $InterfaceIndex -IPAddress $Wanted.address -PrefixLength $Wanted.prefix | Out-Null
    }
    if ($null -ne $Wanted.gateway) {
        $routes = @(Get-NetRoute -InterfaceIndex $InterfaceIndex -DestinationPrefix $prefix -ErrorAction SilentlyContinue)
        foreach ($route in $routes) {
            if ($route.NextHop -ne $Wanted.gateway) {
                $route | Remove-NetRoute -Confirm:$false
            }
        }
        if (@($routes | Where-Object -FilterScript { $_.NextHop -eq $Wanted.gateway }).Count -eq 0) {
            New-NetRoute -InterfaceIndex $InterfaceIndex -DestinationPrefix $prefix -NextHop $Wanted.gateway | Out-Null
        }
    }
}

# Off: what makes the frames on the wire other than those that the driver saw, and chatter. Once for each adapter, for
# these settings are kept, and making them takes the link down for a moment.
function Set-TestHabits {
    param([Parameter(Mandatory = $true)] $Adapter)

    $mark = Join-Path -Path $HilSetup -ChildPath "habits-$($Adapter.InterfaceGuid)"
    if (Test-Path -LiteralPath $mark) {
        return
    }
    $name = $Adapter.Name
    if (Get-NetAdapterChecksumOffload -Name $name -ErrorAction SilentlyContinue) {
        Disable-NetAdapterChecksumOffload -Name $name
    }
    if (Get-NetAdapterLso -Name $name -ErrorAction SilentlyContinue) {
        Disable-NetAdapterLso -Name $name
    }
    if (Get-NetAdapterRsc -Name $name -ErrorAction SilentlyContinue) {
        Disable-NetAdapterRsc -Name $name
    }
    # Link-layer topology discovery and LLDP send frames of their own.
    foreach ($component in 'ms_lltdio', 'ms_rspndr', 'ms_lldp') {
        if (Get-NetAdapterBinding -Name $name -ComponentID $component -ErrorAction SilentlyContinue) {
            Disable-NetAdapterBinding -Name $name -ComponentID $component
        }
    }
    $netbios = "HKLM:\SYSTEM\CurrentControlSet\Services\NetBT\Parameters\Interfaces\Tcpip_$($Adapter.InterfaceGuid)"
    if (Test-Path -LiteralPath $netbios) {
        Set-RegistryValue -Path $netbios -Name 'NetbiosOptions' -Type DWord -Value 2
    }
    Set-Content -LiteralPath $mark -Value $name -Encoding Ascii
}

Set-RegistryOfStage -Settings $Settings -Stage 'network-private'

$management = Get-NamedAdapter -Nic $Settings.management
if ($null -eq $management) {
    throw "There is no NIC with the MAC address $($Settings.management.mac): has Windows a driver for its model?"
}
if ($Addresses) {
    # The default route is the test NIC's: the gateway there is a station of the host.
    $index = $management.InterfaceIndex
    Set-NetIPInterface -InterfaceIndex $index -AddressFamily IPv4 -IgnoreDefaultRoutes Enabled
    Set-NetIPInterface -InterfaceIndex $index -AddressFamily IPv6 -IgnoreDefaultRoutes Enabled -RouterDiscovery Disabled
    Get-NetRoute -InterfaceIndex $index -DestinationPrefix '0.0.0.0/0', '::/0' -ErrorAction SilentlyContinue | Remove-NetRoute -Confirm:$false
}

foreach ($nic in $Settings.test_nics) {
    $adapter = Get-NamedAdapter -Nic $nic
    if ($null -eq $adapter) {
        continue
    }
    foreach ($family in 'IPv4', 'IPv6') {
        $key = $family.ToLowerInvariant()
        if ($Addresses -and $nic.PSObject.Properties.Name -contains $key) {
            Set-StaticAddress -InterfaceIndex $adapter.InterfaceIndex -Family $family -Wanted $nic.$key
        }
    }
    Set-TestHabits -Adapter $adapter
}

# A network has a category as soon as Windows has looked at it, which takes it some seconds.
$patience = 60
do {
    $seen = @(Get-NetConnectionProfile -ErrorAction SilentlyContinue)
    foreach ($connection in $seen) {
        if ($connection.NetworkCategory -eq 'Public') {
            Set-NetConnectionProfile -InterfaceIndex $connection.InterfaceIndex -NetworkCategory Private
        }
    }
    $done = @($seen | Where-Object -FilterScript { $_.InterfaceIndex -eq $management.InterfaceIndex }).Count -gt 0
    if (-not $done) {
        Start-Sleep -Seconds 2
        $patience--
    }
} until ($done -or $patience -le 0)
if (-not $done) {
    throw "Windows has found no network on '$($management.Name)' after two minutes: does DHCP answer there?"
}
