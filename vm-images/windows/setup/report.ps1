# What every script here begins with: lines on the first serial port, by which the host follows, and how a stage fails.

#requires -Version 5.1
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$HilRoot = 'C:\wfp-hil'
$HilSetup = 'C:\wfp-hil\setup'
$HilLog = 'C:\wfp-hil\setup.log'

# One line to COM1 and to the log. A serial port that cannot be opened must not stop what is being reported.
function Send-Line {
    param([Parameter(Mandatory = $true)][string] $Text)

    $line = $Text -replace '[^\x20-\x7E]+', ' '
    if ($line.Length -gt 900) {
        $line = $line.Substring(0, 900)
    }
    $stamp = [DateTime]::UtcNow.ToString('yyyy-MM-dd HH:mm:ss', [Globalization.CultureInfo]::InvariantCulture)
    Add-Content -LiteralPath $HilLog -Value "$stamp $line" -Encoding Ascii
    $port = New-Object -TypeName System.IO.Ports.SerialPort -ArgumentList 'COM1', 115200
    try {
        $port.WriteTimeout = 10000
        $port.Open()
        $port.Write($line + "`r`n")
        # Closing throws away what the port has not sent yet.
        $patience = 100
        while ($port.BytesToWrite -gt 0 -and $patience -gt 0) {
            Start-Sleep -Milliseconds 20
            $patience--
        }
    }
    catch {
        Add-Content -LiteralPath $HilLog -Value "$stamp COM1: $($_.Exception.Message)" -Encoding Ascii
    }
    finally {
        $port.Dispose()
    }
}

function Write-Stage {
    param([Parameter(Mandatory = $true)][string] $Name)

    Send-Line -Text "wfp-hil: stage $Name"
}

# Runs one stage; what goes wrong in it is told with its place, and ends the script.
function Invoke-Stage {
    param(
        [Parameter(Mandatory = $true)][string] $Name,
        [Parameter(Mandatory = $true)][scriptblock] $Action
    )

    Write-Stage -Name $Name
    try {
        & $Action
    }
    catch {
        $place = "$($_.ScriptStackTrace)" -replace "`r?`n.*", ''
        Send-Line -Text "wfp-hil: failed ${Name}: $($_.Exception.Message) ($place)"
        throw
    }
}

# Runs a program and gives back what it said. Other exit codes than those allowed are failures.
function Invoke-Program {
    param(
        [Parameter(Mandatory = $true)][string] $Path,
        [string[]] $Arguments = @(),
        [int[]] $Allowed = @(0)
    )

    # PowerShell 5.1 makes an error of every line that a program writes to its standard error.
    $ErrorActionPreference = 'Continue'
    $said = & $Path @Arguments 2>&1 | Out-String
    $code = $LASTEXITCODE
    $ErrorActionPreference = 'Stop'
    if ($Allowed -notcontains $code) {
        throw "'$Path $($Arguments -join ' ')' ended with ${code}: $($said.Trim())"
    }
    return $said
}

# Sets one registry value, with its key. New-Item on a key that is there would empty it.
function Set-RegistryValue {
    param(
        [Parameter(Mandatory = $true)][string] $Path,
        [Parameter(Mandatory = $true)][string] $Name,
        [Parameter(Mandatory = $true)][ValidateSet('DWord', 'String')][string] $Type,
        [Parameter(Mandatory = $true)] $Value
    )

    if (-not (Test-Path -LiteralPath $Path)) {
        New-Item -Path $Path -Force | Out-Null
    }
    New-ItemProperty -LiteralPath $Path -Name $Name -PropertyType $Type -Value $Value -Force | Out-Null
}

# The value, or $null where there is none.
function Get-RegistryValue {
    param(
        [Parameter(Mandatory = $true)][string] $Path,
        [Parameter(Mandatory = $true)][string] $Name
    )

    if (-not (Test-Path -LiteralPath $Path)) {
        return $null
    }
    return (Get-Item -LiteralPath $Path).GetValue($Name, $null)
}

# What settings.json says of the registry for a stage; none where the stage has no values.
function Set-RegistryOfStage {
    param(
        [Parameter(Mandatory = $true)] $Settings,
        [Parameter(Mandatory = $true)][string] $Stage
    )

    if ($Settings.registry.PSObject.Properties.Name -contains $Stage) {
        foreach ($row in $Settings.registry.$Stage) {
            Set-RegistryValue -Path $row.path -Name $row.name -Type $row.type -Value $row.value
        }
    }
}

function Get-HilSettings {
    return Get-Content -LiteralPath (Join-Path -Path $HilSetup -ChildPath 'settings.json') -Raw | ConvertFrom-Json
}

# A firewall rule that lets in, made anew so that it is as it should be.
function Set-InboundRule {
    param(
        [Parameter(Mandatory = $true)][string] $Name,
        [Parameter(Mandatory = $true)][hashtable] $Conditions
    )

    Get-NetFirewallRule -Name $Name -ErrorAction SilentlyContinue | Remove-NetFirewallRule
    New-NetFirewallRule -Name $Name -DisplayName $Name -Direction Inbound -Action Allow -Profile Any @Conditions | Out-Null
}
