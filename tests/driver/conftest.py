"""A probe that answers as it is told."""

from __future__ import annotations

import json

import pytest

from harness.guest import ProbeClient


class FakeProbe:
    """Answers each request with what `answers` holds for its operation; a list is used up one by one."""

    def __init__(self):
        self.requests = []
        self.answers = {}
        self.client = ProbeClient(self)
        self.client.feed("stdout", '{"event":"ready","version":1,"pid":44}\n')

    def send(self, data, *, end=False):
        request = json.loads(data)
        self.requests.append(request)
        answer = self.answers.get(request["op"], {})
        if isinstance(answer, list):
            answer = answer.pop(0)
        self.client.feed("stdout", json.dumps({"id": request["id"], "ok": True} | answer) + "\n")

    @property
    def last(self):
        return {key: value for key, value in self.requests[-1].items() if key != "id"}


@pytest.fixture
def fake():
    return FakeProbe()
