"""The facts about WFP as data: layers, fields, GUIDs, actions, status codes and the catalogue of rules.

>>> layer_name(layer_id("ALE_AUTH_CONNECT_V4"))
'ALE_AUTH_CONNECT_V4'
>>> status_name(0x40000000)
'STATUS_OBJECT_NAME_EXISTS'
>>> action_name(0x1002)
'PERMIT'
"""

from __future__ import annotations

from harness.wfp.layers import (
    Layer,
    all_layers,
    field_index,
    field_names,
    layer_guid,
    layer_id,
    layer_name,
    layer_of_guid,
)
from harness.wfp.names import action_name, action_value, constant, guid, status_name, status_ok, status_value
from harness.wfp.rules import (
    Area,
    Check,
    Kind,
    Rule,
    all_areas,
    all_rules,
    find_area,
    near_rules,
    rule,
    rule_ids,
    unknown_ids,
)

__all__ = [
    "Area",
    "Check",
    "Kind",
    "Layer",
    "Rule",
    "action_name",
    "action_value",
    "all_areas",
    "all_layers",
    "all_rules",
    "constant",
    "field_index",
    "field_names",
    "find_area",
    "guid",
    "layer_guid",
    "layer_id",
    "layer_name",
    "layer_of_guid",
    "near_rules",
    "rule",
    "rule_ids",
    "status_name",
    "status_ok",
    "status_value",
    "unknown_ids",
]
