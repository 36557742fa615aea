"""The answer file, `autounattend.xml`. What its settings are and where they come from is in `unattend-schema.toml`.

The pass offlineServicing is left out: nothing needs it, and it is where others' installations failed
(https://github.com/dockur/windows, issues 44 and 299).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lxml import etree

from harness.unattend.passwords import PasswordElement, encode_password
from harness.unattend.plan import HELPER_ACCOUNT, SETUP_FOLDER, InstallPlan

NAMESPACE = "urn:schemas-microsoft-com:unattend"
WCM = "http://schemas.microsoft.com/WMIConfig/2002/State"
WINDOWS_PARTITION = 3

# Windows Setup and PE give letters to CDs as they come; the answer CD is found by the file that only it has.
_LETTERS = "C D E F G H I J K L"
_LOOP = f"for %d in ({_LETTERS}) do if exist %d:\\setup\\settings.json"
_COPY_SETUP = f"({_LOOP} xcopy %d:\\setup {SETUP_FOLDER} /e /i /y /q)"
# The Setup of Windows 11 24H2 and later does not keep an answer file from a CD for the pass oobeSystem, says a public
# answer file that does this against it. Windows looks for one in C:\, too; seal.ps1 removes it.
_KEEP_ANSWERS = f"({_LOOP} copy /y %d:\\autounattend.xml C:\\unattend.xml)"

# What Setup of Windows 11 does not ask of the machine then: TPM, Secure Boot, memory, processor, disk.
# The first three as in https://github.com/rgl/windows-vagrant, windows-11-24h2-uefi/autounattend.xml; processor and
# disk as in many public answer files. Nothing of Microsoft's describes them.
_BYPASSED = ("BypassTPMCheck", "BypassSecureBootCheck", "BypassRAMCheck", "BypassCPUCheck", "BypassStorageCheck")
_OOBE = "HKLM\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\OOBE"
_BITLOCKER = "HKLM\\SYSTEM\\CurrentControlSet\\Control\\BitLocker"

# A leaf is text; a list of pairs is what stands inside; a name with "+" is an item of a list (wcm:action="add").
Node = tuple[str, Any]


def render_answer(plan: InstallPlan) -> bytes:
    """The answer file for this plan, UTF-8 XML."""
    root = etree.Element(f"{{{NAMESPACE}}}unattend", nsmap={None: NAMESPACE, "wcm": WCM})
    passes: list[tuple[str, list[Node]]] = [
        ("windowsPE", _windows_pe(plan)),
        ("specialize", _specialize(plan)),
        ("oobeSystem", _oobe_system(plan)),
    ]
    for name, components in passes:
        settings = etree.SubElement(root, f"{{{NAMESPACE}}}settings", attrib={"pass": name})
        for component, nodes in components:
            element = etree.SubElement(
                settings,
                f"{{{NAMESPACE}}}component",
                attrib={
                    "name": component,
                    "processorArchitecture": plan.architecture,
                    "publicKeyToken": "31bf3856ad364e35",
                    "language": "neutral",
                    "versionScope": "nonSxS",
                },
            )
            _append(element, nodes)
    etree.indent(root)
    return etree.tostring(root, xml_declaration=True, encoding="utf-8", pretty_print=True)


def stage_command(stage: str) -> str:
    """A command that reports a stage on the first serial port, where no script can run yet."""
    return _whatever_happens(f"echo wfp-hil: stage {stage}>COM1")


def _whatever_happens(command: str) -> str:
    """Setup ends when a command fails, and Windows PE may lack a driver for the serial port.

    So say the comments of public answer files; Microsoft's pages are silent on it.
    """
    return f'cmd /c "{command} & exit /b 0"'


def _append(parent: etree._Element, nodes: Iterable[Node]) -> None:
    for name, value in nodes:
        tag, _, key = name.partition("+")
        element = etree.SubElement(parent, f"{{{NAMESPACE}}}{tag}")
        if "+" in name:
            element.set(f"{{{WCM}}}action", "add")
            if key:
                element.set(f"{{{WCM}}}keyValue", key)
        if isinstance(value, str):
            element.text = value
        else:
            _append(element, value)


def _windows_pe(plan: InstallPlan) -> list[Node]:
    commands = [stage_command("setup-started")]
    if plan.bypass_requirements:
        commands += [f"reg add HKLM\\SYSTEM\\Setup\\LabConfig /v {name} /t REG_DWORD /d 1 /f" for name in _BYPASSED]
    drivers = [
        (f"PathAndCredentials+{number}", [("Path", folder)]) for number, folder in enumerate(plan.driver_folders, 1)
    ]
    # Asked for an image by number: names in install.wim and the names that are shown differ for servers.
    image = [("MetaData+", [("Key", "/IMAGE/INDEX"), ("Value", str(plan.image_index))])]
    key = [("Key", plan.product_key)] if plan.product_key else []
    return [
        (
            "Microsoft-Windows-International-Core-WinPE",
            [("SetupUILanguage", [("UILanguage", plan.locale)]), *_language(plan)],
        ),
        *([("Microsoft-Windows-PnpCustomizationsWinPE", [("DriverPaths", drivers)])] if drivers else []),
        (
            "Microsoft-Windows-Setup",
            [
                ("DiskConfiguration", [("WillShowUI", "OnError"), ("Disk+", _disk())]),
                ("DynamicUpdate", [("Enable", "false"), ("WillShowUI", "Never")]),
                (
                    "ImageInstall",
                    [
                        (
                            "OSImage",
                            [
                                ("InstallFrom", image),
                                ("InstallTo", [("DiskID", "0"), ("PartitionID", str(WINDOWS_PARTITION))]),
                                ("WillShowUI", "OnError"),
                            ],
                        )
                    ],
                ),
                ("RunSynchronous", _run_synchronous(commands)),
                (
                    "UserData",
                    [
                        ("AcceptEula", "true"),
                        ("FullName", "wfp-hil"),
                        ("Organization", "wfp-hil"),
                        ("ProductKey", [*key, ("WillShowUI", "OnError")]),
                    ],
                ),
            ],
        ),
    ]


def _disk() -> list[Node]:
    # Sizes in MiB. Partition 3, the last, grows to the end of the disk.
    return [
        ("DiskID", "0"),
        ("WillWipeDisk", "true"),
        (
            "CreatePartitions",
            [
                ("CreatePartition+", [("Order", "1"), ("Type", "EFI"), ("Size", "260")]),
                ("CreatePartition+", [("Order", "2"), ("Type", "MSR"), ("Size", "16")]),
                ("CreatePartition+", [("Order", str(WINDOWS_PARTITION)), ("Type", "Primary"), ("Extend", "true")]),
            ],
        ),
        (
            "ModifyPartitions",
            [
                (
                    "ModifyPartition+",
                    [("Order", "1"), ("PartitionID", "1"), ("Format", "FAT32"), ("Label", "System")],
                ),
                ("ModifyPartition+", [("Order", "2"), ("PartitionID", "2")]),
                (
                    "ModifyPartition+",
                    [
                        ("Order", "3"),
                        ("PartitionID", str(WINDOWS_PARTITION)),
                        ("Format", "NTFS"),
                        ("Label", "Windows"),
                        ("Letter", "C"),
                    ],
                ),
            ],
        ),
    ]


def _specialize(plan: InstallPlan) -> list[Node]:
    commands = [
        stage_command("specialize"),
        _whatever_happens(_COPY_SETUP),
        _whatever_happens(_KEEP_ANSWERS),
        # Since Windows 11 22H2 the first-run pages want a network; this lets them do without.
        f"reg add {_OOBE} /v BypassNRO /t REG_DWORD /d 1 /f",
        # Since Windows 11 24H2 a disk is encrypted by itself; a changed boot entry then asks for the recovery key. By
        # the registry, for servers lack the component that has a setting for it.
        f"reg add {_BITLOCKER} /v PreventDeviceEncryption /t REG_DWORD /d 1 /f",
        # What follows are the first-run pages, during which no command can be run.
        stage_command("oobe"),
    ]
    return [
        ("Microsoft-Windows-Deployment", [("RunSynchronous", _run_synchronous(commands))]),
        ("Microsoft-Windows-International-Core", _language(plan)),
        ("Microsoft-Windows-Security-SPP-UX", [("SkipAutoActivation", "true")]),
        ("Microsoft-Windows-Shell-Setup", [("ComputerName", plan.computer_name), ("TimeZone", plan.time_zone)]),
    ]


def _oobe_system(plan: InstallPlan) -> list[Node]:
    # One command with the copying in it, done again: where specialize did not find the CD, the first logon may.
    # Of several commands Microsoft says both that they run one after the other and that they all start at once.
    commands = [f'cmd /c "{_COPY_SETUP} & {command}"' for command in plan.first_logon]
    first_logon = [
        ("SynchronousCommand+", [("Order", str(number)), ("CommandLine", command), ("RequiresUserInput", "false")])
        for number, command in enumerate(commands, 1)
    ]
    account = plan.user if plan.user != "Administrator" else HELPER_ACCOUNT
    return [
        ("Microsoft-Windows-International-Core", _language(plan)),
        (
            "Microsoft-Windows-Shell-Setup",
            [
                # The English name of the Administrator, given here, also enables that account:
                # https://learn.microsoft.com/en-us/previous-versions/windows/it-pro/windows-vista/cc748862(v=ws.10)
                (
                    "AutoLogon",
                    [
                        ("Password", _hidden(plan.password, "Password")),
                        ("Enabled", "true"),
                        ("LogonCount", "1"),
                        ("Username", plan.user),
                    ],
                ),
                ("FirstLogonCommands", first_logon),
                (
                    "OOBE",
                    [
                        ("HideEULAPage", "true"),
                        ("HideLocalAccountScreen", "true"),
                        ("HideOEMRegistrationScreen", "true"),
                        ("HideOnlineAccountScreens", "true"),
                        ("HideWirelessSetupInOOBE", "true"),
                        ("ProtectYourPC", "3"),
                    ],
                ),
                ("TimeZone", plan.time_zone),
                (
                    "UserAccounts",
                    [
                        ("AdministratorPassword", _hidden(plan.password, "AdministratorPassword")),
                        (
                            "LocalAccounts",
                            [
                                (
                                    "LocalAccount+",
                                    [
                                        ("Password", _hidden(plan.password, "Password")),
                                        ("Group", "Administrators"),
                                        ("Name", account),
                                    ],
                                )
                            ],
                        ),
                    ],
                ),
            ],
        ),
    ]


def _language(plan: InstallPlan) -> list[Node]:
    # All four, or Setup of Windows 11 24H2 asks: https://github.com/cschneegans/unattend-generator, issue 63.
    return [
        ("InputLocale", plan.keyboard),
        ("SystemLocale", plan.locale),
        ("UILanguage", plan.locale),
        ("UserLocale", plan.locale),
    ]


def _run_synchronous(commands: Sequence[str]) -> list[Node]:
    return [
        ("RunSynchronousCommand+", [("Order", str(number)), ("Path", command)])
        for number, command in enumerate(commands, 1)
    ]


def _hidden(password: str, element: PasswordElement) -> list[Node]:
    return [("Value", encode_password(password, element)), ("PlainText", "false")]
