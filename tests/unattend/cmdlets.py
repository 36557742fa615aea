"""Commands that the guest's scripts may use: what they are called in PowerShell 5.1, their parameters, their page."""

from __future__ import annotations

# https://learn.microsoft.com/en-us/powershell/module/microsoft.powershell.core/about/about_commonparameters
COMMON = {"ErrorAction", "WarningAction"}

_LEARN = "https://learn.microsoft.com/en-us/powershell/module"

# What a rule of the firewall may be limited to, in Set-InboundRule of report.ps1.
INBOUND = "Protocol LocalPort InterfaceAlias Program IcmpType"

# Module: cmdlet: parameters, all that are used here and no more. The lists of the modules NetTCPIP, NetSecurity,
# NetConnection, ScheduledTasks and PKI were held against the syntax in Microsoft's own documents; of the others what is
# used is older than PowerShell 5.1.
MODULES: dict[str, dict[str, str]] = {
    "cimcmdlets": {"Get-CimInstance": "ClassName Filter"},
    "configdefender": {"Add-MpPreference": "ExclusionPath"},
    "dism": {"Add-WindowsCapability": "Online Name", "Get-WindowsCapability": "Online Name"},
    "microsoft.powershell.archive": {"Expand-Archive": "LiteralPath DestinationPath Force"},
    "microsoft.powershell.core": {
        "ForEach-Object": "Process",
        "Get-Command": "Name",
        "Out-Null": "",
        "Set-StrictMode": "Version",
        "Where-Object": "FilterScript",
    },
    "microsoft.powershell.localaccounts": {
        "Get-LocalUser": "Name",
        "Remove-LocalUser": "Name",
        "Rename-LocalUser": "SID NewName",
        "Set-LocalUser": "Name PasswordNeverExpires",
    },
    "microsoft.powershell.management": {
        "Add-Content": "LiteralPath Value Encoding",
        "Copy-Item": "Path LiteralPath Destination Force Recurse",
        "Get-ChildItem": "Path LiteralPath Filter Recurse Directory File",
        "Get-Content": "LiteralPath Raw",
        "Get-Item": "LiteralPath Path",
        "Get-PSDrive": "PSProvider",
        "Get-Service": "Name",
        "Join-Path": "Path ChildPath",
        # Transport, Address, Port, HostName and CertificateThumbPrint are the provider's own, for listeners:
        # https://learn.microsoft.com/en-us/powershell/module/microsoft.wsman.management/about/about_wsman_provider
        "New-Item": "Path ItemType Force Transport Address Port HostName CertificateThumbPrint",
        "New-ItemProperty": "LiteralPath Name PropertyType Value Force",
        "Remove-Item": "LiteralPath Path Recurse Force",
        "Remove-ItemProperty": "LiteralPath Name Force",
        "Restart-Service": "Name Force",
        "Set-Content": "LiteralPath Value Encoding",
        "Set-Item": "Path Value Force",
        "Set-Service": "Name StartupType",
        "Start-Service": "Name",
        "Stop-Service": "Name Force",
        "Test-Path": "LiteralPath",
    },
    "microsoft.powershell.security": {
        "ConvertTo-SecureString": "String AsPlainText Force",
        "Get-AuthenticodeSignature": "LiteralPath",
    },
    "microsoft.powershell.utility": {
        "Add-Type": "Path",
        "ConvertFrom-Json": "",
        "ConvertTo-Json": "InputObject Compress",
        "Get-FileHash": "LiteralPath Algorithm",
        "Select-String": "LiteralPath Pattern SimpleMatch Quiet",
        "New-Object": "TypeName ArgumentList",
        "Out-String": "",
        "Select-Object": "First",
        "Start-Sleep": "Seconds Milliseconds",
    },
    "netadapter": {
        "Disable-NetAdapterBinding": "Name ComponentID",
        "Disable-NetAdapterChecksumOffload": "Name",
        "Disable-NetAdapterLso": "Name",
        "Disable-NetAdapterRsc": "Name",
        "Get-NetAdapter": "Name",
        "Get-NetAdapterBinding": "Name ComponentID",
        "Get-NetAdapterChecksumOffload": "Name",
        "Get-NetAdapterLso": "Name",
        "Get-NetAdapterRsc": "Name",
        "Rename-NetAdapter": "Name NewName",
    },
    "netconnection": {
        "Get-NetConnectionProfile": "",
        "Set-NetConnectionProfile": "InterfaceIndex NetworkCategory",
    },
    "netsecurity": {
        "Disable-NetFirewallRule": "",
        "Get-NetFirewallProfile": "PolicyStore",
        "Get-NetFirewallRule": "Name",
        "New-NetFirewallRule": "Name DisplayName Direction Action Profile " + INBOUND,
        "Remove-NetFirewallRule": "",
        "Set-NetFirewallProfile": "Profile Enabled",
    },
    "nettcpip": {
        "Get-NetIPAddress": "InterfaceIndex AddressFamily",
        "Get-NetRoute": "InterfaceIndex DestinationPrefix",
        "Get-NetTCPConnection": "State LocalPort",
        "New-NetIPAddress": "InterfaceIndex IPAddress PrefixLength",
        "New-NetRoute": "InterfaceIndex DestinationPrefix NextHop",
        "Remove-NetIPAddress": "Confirm",
        "Remove-NetRoute": "Confirm",
        "Set-NetIPInterface": "InterfaceIndex AddressFamily Dhcp IgnoreDefaultRoutes RouterDiscovery",
    },
    "pki": {
        "Import-Certificate": "FilePath CertStoreLocation",
        "Import-PfxCertificate": "FilePath CertStoreLocation Password",
    },
    "scheduledtasks": {
        "New-ScheduledTaskAction": "Execute Argument",
        "New-ScheduledTaskPrincipal": "UserId LogonType RunLevel",
        "New-ScheduledTaskSettingsSet": "AllowStartIfOnBatteries "
        "DontStopIfGoingOnBatteries ExecutionTimeLimit Priority",
        "New-ScheduledTaskTrigger": "AtStartup",
        "Register-ScheduledTask": "TaskName Trigger Action Principal Settings Force",
    },
    "secureboot": {"Confirm-SecureBootUEFI": ""},
}

# Programs, by what Invoke-Program is given, with the words that may come first; their pages.
_COMMANDS = "https://learn.microsoft.com/en-us/windows-server/administration/windows-commands"
PROGRAMS = {
    "bcdedit.exe": ({"/set", "/debug", "/dbgsettings"}, f"{_COMMANDS}/bcdedit"),
    "icacls.exe": ({"$"}, f"{_COMMANDS}/icacls"),
    "msiexec.exe": ({"/i"}, f"{_COMMANDS}/msiexec"),
    "pnputil.exe": ({"/add-driver", "/delete-driver", "/enum-drivers"}, f"{_COMMANDS}/pnputil"),
    "powercfg.exe": (
        {"/change", "/hibernate"},
        "https://learn.microsoft.com/en-us/windows-hardware/design/device-experiences/powercfg-command-line-options",
    ),
    "shutdown.exe": ({"/r", "/s"}, f"{_COMMANDS}/shutdown"),
    "verifier.exe": (
        {"/reset", "/query", "/standard", "/faults"},
        "https://learn.microsoft.com/en-us/windows-hardware/drivers/devtest/verifier-command-line",
    ),
}


def source(cmdlet: str) -> str:
    """The page that describes a cmdlet."""
    module = next(name for name, cmdlets in MODULES.items() if cmdlet in cmdlets)
    return f"{_LEARN}/{module}/{cmdlet.lower()}"


def parameters(cmdlet: str) -> set[str] | None:
    """What a cmdlet may be given, in small letters; None when it is not known here."""
    for cmdlets in MODULES.values():
        if cmdlet in cmdlets:
            return {name.lower() for name in {*cmdlets[cmdlet].split(), *COMMON}}
    return None
