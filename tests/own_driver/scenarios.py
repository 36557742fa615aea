"""What portblock.sys does, seen from the wire and from the guest's sockets."""

from harness.expect import expect


def test_port_99_is_blocked(probe, stations, witness, fence):
    """A connect to port 99 is refused, and its SYN never leaves the guest."""
    stations.add("198.51.100.5").tcp_listen(99)

    client = probe.tcp_connect("198.51.100.5:99", seconds=3)
    fence()

    expect(client).failed()
    expect(witness).none(dst="198.51.100.5:99")


def test_other_ports_pass(probe, stations, witness, fence):
    """A connect to another port is none of its business."""
    stations.add("198.51.100.5").tcp_listen(98, echo=True)

    client = probe.tcp_connect("198.51.100.5:98")
    client.send(b"hello")
    echoed = client.receive(5, exact=True)
    fence()

    expect(echoed).equals(b"hello")
    expect(witness).some(dst="198.51.100.5:98", payload=b"hello")


def test_unloaded_it_blocks_nothing(probe, service, stations, witness):
    """After the driver has been stopped, port 99 is as any other."""
    stations.add("198.51.100.5").tcp_listen(99)
    service.stop()

    probe.tcp_connect("198.51.100.5:99")

    expect(witness).some(dst="198.51.100.5:99", flags="S")


def test_with_control(driver):
    """Needs the control interface of the reference callout driver."""
