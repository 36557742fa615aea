"""The endpoint through pypsrp, a client that shares no code with the one the harness uses."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from pypsrp.exceptions import AuthenticationError, WSManFaultError
from pypsrp.shell import CommandState, Process, SignalCode, WinRS
from pypsrp.wsman import NAMESPACES, OptionSet, SelectorSet, WSMan, WSManAction

from harness.waiting import Deadline, wait_for

CMD = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell/cmd"
SHELLS = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
ENUMERATION = "http://schemas.xmlsoap.org/ws/2004/09/enumeration"
DETAIL = "http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail"


def connect(endpoint: Any, **options: Any) -> WSMan:
    settings = {"username": endpoint.user, "password": endpoint.password, "auth": "negotiate", **options}
    return WSMan(
        "127.0.0.1",
        port=endpoint.port,
        ssl=True,
        cert_validation=str(endpoint.certificate),
        no_proxy=True,
        **settings,
    )


@pytest.fixture
def wsman(endpoint: Any) -> Iterator[WSMan]:
    with connect(endpoint) as connection:
        yield connection


@pytest.fixture
def shell(wsman: WSMan) -> Iterator[WinRS]:
    with WinRS(wsman) as opened:
        yield opened


def fault_of(wsman: WSMan, *request: Any, **options: Any) -> tuple[WSManFaultError, ET.Element]:
    """The fault that answers a request, as the client understands it and as it stands in the message."""
    texts: list[str] = []
    parse = wsman._parse_wsman_fault

    def keep(text: str) -> WSManFaultError:
        texts.append(text)
        return parse(text)

    wsman._parse_wsman_fault = keep  # type: ignore[method-assign]
    with pytest.raises(WSManFaultError) as caught:
        wsman.invoke(*request, **options)
    return caught.value, ET.fromstring(texts[-1])


@pytest.mark.parametrize("auth", ["negotiate", "ntlm"])
def test_a_process_with_both_ways_to_log_in(endpoint, auth):
    with connect(endpoint, auth=auth) as wsman, WinRS(wsman) as shell:
        process = Process(shell, "echo out; echo err >&2; cat; exit 3")
        process.begin_invoke()
        process.send(b"in\n", end=True)
        process.end_invoke()
        assert (process.stdout, process.stderr, process.rc) == (b"out\nin\n", b"err\n", 3)
        process.signal(SignalCode.TERMINATE)


def test_a_wrong_password_is_refused(endpoint):
    with connect(endpoint, password="wrong") as wsman, pytest.raises(AuthenticationError):
        WinRS(wsman).open()


def test_a_password_is_never_taken_in_the_clear(endpoint):
    with connect(endpoint, auth="basic") as wsman, pytest.raises(AuthenticationError):
        WinRS(wsman).open()


def test_arguments_and_skipped_shell(shell):
    process = Process(shell, "/usr/bin/printf", ["%s|", '"two words"', r"back\slash", "100%"], no_shell=True)
    process.invoke()
    assert process.stdout == rb"two words|back\slash|100%|"


def test_what_a_shell_was_created_with_is_what_it_says(endpoint, wsman, tmp_path):
    number = str(uuid.uuid4()).upper()
    shell = WinRS(
        wsman, id=number, codepage=850, environment={"A": "1"}, idle_time_out=90, lifetime=300, name="mine",
        no_profile=True, working_directory=str(tmp_path),
    )  # fmt: skip
    with shell:
        assert shell.id == number
        said = shell._get_shell()
        process = Process(shell, "echo $A $WINRS_CODEPAGE; pwd")
        process.invoke()
    assert process.stdout.decode() == f"1 850\n{tmp_path}\n"
    assert said["ShellId"] == number
    assert said["Name"] == "mine"
    assert said["IdleTimeOut"] == "PT90.000S"
    assert said["WorkingDirectory"] == str(tmp_path)
    assert said["ClientIP"] == "127.0.0.1"
    assert str(said["Owner"]).endswith(endpoint.user)


def test_an_id_that_is_taken_is_refused(wsman, shell):
    with pytest.raises(WSManFaultError) as caught:
        WinRS(wsman, id=shell.id).open()
    assert caught.value.code == 2150858803


def test_shells_are_enumerated_in_pieces(wsman):
    with WinRS(wsman) as first, WinRS(wsman) as second, WinRS(wsman) as third:
        wanted = {first.id, second.id, third.id}
        request = ET.Element(f"{{{ENUMERATION}}}Enumerate")
        answer = wsman.enumerate(SHELLS, request)
        seen: set[str | None] = set()
        while (context := answer.find(f".//{{{ENUMERATION}}}EnumerationContext")) is not None:
            pull = ET.Element(f"{{{ENUMERATION}}}Pull")
            ET.SubElement(pull, f"{{{ENUMERATION}}}EnumerationContext").text = context.text
            ET.SubElement(pull, f"{{{ENUMERATION}}}MaxElements").text = "2"
            answer = wsman.pull(SHELLS, pull)
            page = {e.text for e in answer.iterfind(".//rsp:ShellId", NAMESPACES)}
            assert 1 <= len(page) <= 2
            seen |= page
        assert answer.find(f".//{{{ENUMERATION}}}EndOfSequence") is not None
        assert wanted <= seen
        error, _ = fault_of(wsman, WSManAction.PULL, SHELLS, pull)
        assert error.code == 2150858759


def test_shells_are_enumerated_at_once_when_asked_so(wsman, shell):
    request = ET.Element(f"{{{ENUMERATION}}}Enumerate")
    ET.SubElement(request, f"{{{NAMESPACES['wsman']}}}OptimizeEnumeration")
    ET.SubElement(request, f"{{{NAMESPACES['wsman']}}}MaxElements").text = "1000"
    answer = wsman.enumerate(SHELLS, request)
    assert shell.id in {e.text for e in answer.iterfind(".//rsp:ShellId", NAMESPACES)}
    assert answer.find(f".//{{{NAMESPACES['wsman']}}}EndOfSequence") is not None


def test_the_client_learns_how_large_a_message_may_be_and_makes_one(wsman):
    wsman.update_max_payload_size()
    assert wsman.max_payload_size > 700_000
    with WinRS(wsman) as shell:
        process = Process(shell, "wc -c")
        process.begin_invoke()
        process.send(bytes(wsman.max_payload_size), end=True)
        process.end_invoke()
        assert process.stdout.strip() == str(wsman.max_payload_size).encode()


@pytest.mark.parametrize("line", ["head -c 300000 /dev/zero", "for n in $(seq 2000); do echo a; echo b >&2; done"])
def test_no_answer_is_larger_than_the_client_takes(endpoint, line):
    with connect(endpoint) as wsman, WinRS(wsman) as shell:
        wsman.max_envelope_size = 16384
        sizes: list[int] = []
        send = wsman.transport.send

        def measure(*args: Any, **kwargs: Any) -> bytes:
            answer = send(*args, **kwargs)
            sizes.append(len(answer))
            return answer

        wsman.transport.send = measure  # type: ignore[method-assign]
        process = Process(shell, f"{line}; sleep 0")
        process.invoke()
        assert process.rc == 0
        assert len(process.stdout) + len(process.stderr) in (300000, 8000)
        assert max(sizes) <= 16384


def test_receive_waits_for_its_operation_time_out(shell):
    process = Process(shell, "cat")
    process.begin_invoke()
    with pytest.raises(WSManFaultError) as caught:
        shell.receive("stdout stderr", process.id, timeout=1)
    assert caught.value.code == 2150858793
    process.send(b"x", end=True)
    state, code, streams = shell.receive("stdout stderr", process.id)
    while state != CommandState.DONE:
        state, code, more = shell.receive("stdout stderr", process.id)
        streams = {name: streams[name] + more[name] for name in streams}
    assert (code, streams["stdout"]) == (0, b"x")


def test_ctrl_c_ends_the_command_with_its_status(shell, tmp_path):
    started = tmp_path / "started"
    process = Process(shell, f"touch {started}; sleep 300")
    process.begin_invoke()
    wait_for(lambda: started.exists() or None, Deadline(30), "the command to start")
    process.signal(SignalCode.CTRL_C)
    process.end_invoke()
    assert process.rc == 0xC000013A


def test_a_fault_has_all_its_parts(wsman, shell):
    selectors = SelectorSet()
    selectors.add_option("ShellId", "00000000-0000-0000-0000-000000000000")
    error, message = fault_of(wsman, WSManAction.DELETE, CMD, None, None, selectors)
    assert error.code == 2150858843
    assert error.machine == "WFPREF"
    assert "ShellId 00000000-0000-0000-0000-000000000000 failed because the shell was not found" in str(error.reason)
    fault = message.find("s:Body/s:Fault", NAMESPACES)
    assert fault is not None
    assert fault.findtext("s:Code/s:Value", None, NAMESPACES) == "s:Sender"
    assert fault.findtext("s:Code/s:Subcode/s:Value", None, NAMESPACES) == "w:InvalidSelectors"
    assert fault.findtext("s:Detail/wsman:FaultDetail", None, NAMESPACES) == f"{DETAIL}/UnexpectedSelectors"
    assert message.findtext("s:Header/wsa:Action", None, NAMESPACES) == (
        "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault"
    )
    assert message.findtext("s:Header/wsa:RelatesTo", None, NAMESPACES)


@pytest.mark.parametrize(
    ("action", "resource", "subcode", "code"),
    [
        (WSManAction.GET, "http://schemas.microsoft.com/wbem/wsman/1/wmi/root", "a:DestinationUnreachable", 2150858752),
        (WSManAction.PUT, CMD, "a:ActionNotSupported", 2150858771),
        (WSManAction.RECONNECT, CMD, "a:ActionNotSupported", 2150858771),
        (WSManAction.RECEIVE, CMD, "w:InvalidSelectors", 2150858843),
    ],
)
def test_what_is_not_offered_is_a_fault(wsman, action, resource, subcode, code):
    error, message = fault_of(wsman, action, resource, None)
    assert error.code == code
    assert message.findtext("s:Body/s:Fault/s:Code/s:Subcode/s:Value", None, NAMESPACES) == subcode
    if subcode.startswith("a:"):
        assert message.findtext("s:Header/wsa:Action", None, NAMESPACES) == (
            "http://schemas.xmlsoap.org/ws/2004/08/addressing/fault"
        )


def test_an_option_that_must_be_complied_with_and_is_not_known_is_a_fault(wsman):
    options = OptionSet()
    options.add_option("WINRS_NOSUCH", "1", {"MustComply": "true"})
    with pytest.raises(WSManFaultError) as caught:
        WinRS(wsman).open(base_options=options)
    assert caught.value.code == 2150858833


def test_a_header_that_must_be_understood_and_is_not_is_a_fault(wsman, monkeypatch):
    create = wsman._create_header

    def with_stranger(*args: Any, **kwargs: Any) -> tuple[str, ET.Element]:
        message_id, header = create(*args, **kwargs)
        ET.SubElement(header, "{urn:example}Stranger", {f"{{{NAMESPACES['s']}}}mustUnderstand": "true"})
        return message_id, header

    monkeypatch.setattr(wsman, "_create_header", with_stranger)
    error, message = fault_of(wsman, WSManAction.GET, CMD, None)
    assert error.code == 2150858768
    assert message.findtext("s:Body/s:Fault/s:Code/s:Value", None, NAMESPACES) == "s:MustUnderstand"


def test_an_envelope_too_small_for_any_answer_is_a_fault(wsman):
    wsman.max_envelope_size = 100
    with pytest.raises(WSManFaultError) as caught:
        WinRS(wsman).open()
    assert caught.value.code == 2150858878
