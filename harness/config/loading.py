"""Reading TOML into models: every error names the file and the key, and what was probably meant."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from harness.config.directories import profiles_root
from harness.config.profile import Profile
from harness.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)

_SECTION = re.compile(r"^\s*\[\[?([^\[\]]+)\]")
_KEY = re.compile(r"""^["']?([\w-]+)["']?\s*=""")
_EXAMPLE = f"'{profiles_root() / 'reference' / 'guest.toml'}' is an example that works."


def load_profile(name_or_path: str | Path, *, root: Path | None = None) -> Profile:
    """Read the profile of that name from `vm-images/<name>/guest.toml`, or the TOML file at that path.

    Raises ConfigError when there is none, when it is not TOML, or when a key or value is not allowed.
    """
    path = _locate(str(name_or_path), root or profiles_root())
    return load_model(path, Profile, example=_EXAMPLE, given={"path": path})


def load_model(path: Path, model: type[Model], *, example: str, given: Mapping[str, object] | None = None) -> Model:
    """Read a TOML file into a model; `example` is the hint for who does not know what belongs there.

    `given` are fields that the program knows and the file may not have.
    Raises ConfigError when it cannot be read, when it is not TOML, or when a key or value is not allowed.
    """
    given = given or {}
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(path, text, error) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"'{path}' is not UTF-8 text: {error}.", hint="Save it as UTF-8.") from error
    except OSError as error:
        raise ConfigError(
            f"'{path}' cannot be read: {error.strerror}.", hint="Give a file that you may read."
        ) from error
    for key in given:
        if key in table:
            raise ConfigError(f"'{path}'{line_of(text, (key,))}: key '{key}' is not known.", hint=example)
    try:
        return model.model_validate({**table, **given})
    except ValidationError as error:
        raise _explain(path, text, error, model, tuple(given), example) from error


def known_profiles(root: Path | None = None) -> list[str]:
    """Names of the profiles that come with this checkout, sorted."""
    return sorted(found.parent.name for found in (root or profiles_root()).glob("*/guest.toml"))


def _locate(asked: str, root: Path) -> Path:
    if "/" in asked or asked.endswith(".toml"):
        path = Path(asked)
        if path.is_dir():
            path /= "guest.toml"
        if not path.is_file():
            raise ConfigError(f"There is no profile at '{path}'.", hint="Give a TOML file, or the name of a profile.")
        return path.absolute()
    path = root / asked / "guest.toml"
    if asked in known_profiles(root):
        return path
    known = known_profiles(root)
    near = difflib.get_close_matches(asked, known, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else f"Known profiles: {', '.join(known) or 'none'}."
    raise ConfigError(f"There is no profile '{asked}'.", hint=hint)


def _not_toml(path: Path, text: str, error: tomllib.TOMLDecodeError) -> ConfigError:
    lines = text.splitlines() or [""]
    said = re.match(r"(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$", str(error))
    what, at_end = (said["what"], said["line"] is None) if said else (str(error), True)
    number = len(lines) if at_end or said is None else int(said["line"])
    column = "" if at_end or said is None else f", column {said['column']}"
    line = lines[number - 1].strip()
    key = _KEY.match(line)
    named = f", key '{key[1]}'" if key else ""
    hint = f"The line is: {line}" + (" (or an earlier one opens what is never closed)." if at_end else "")
    if "overwrite" in what:
        hint = "A key is given twice, or a section is also a key."
    return ConfigError(f"'{path}', line {number}{column}{named}: this is not valid TOML: {what}.", hint=hint)


def line_of(text: str, location: Sequence[int | str]) -> str:
    """', line N' for the key at this place, or for its section where the key is not there; '' if neither is."""
    names = [part for part in location if isinstance(part, str)]
    section, at = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        head, key = _SECTION.match(line), _KEY.match(line.strip())
        if head:
            section = head[1]
            if section == ".".join(names[: len(section.split("."))]):
                at = number
        elif key:
            full = [*section.split("."), key[1]] if section else [key[1]]
            if full == names:
                return f", line {number}"
            if full == names[: len(full)]:  # an inline table
                at = number
    return f", line {at}" if at else ""


def _explain(
    path: Path, text: str, error: ValidationError, model: type[BaseModel], given: tuple[str, ...], example: str
) -> ConfigError:
    details = error.errors(include_url=False)
    # A misspelt key shows as one unknown and one missing key; the unknown one is the cause, so it comes first.
    first = min(details, key=lambda detail: detail["type"] != "extra_forbidden")
    # A wrong entry of a list also makes the list too short: an echo, not another error.
    others = sum(detail["loc"] != first["loc"][: len(detail["loc"])] for detail in details)
    sentence, hint = _sentence(first, model, given)
    more = f" ({others} more {'error' if others == 1 else 'errors'} in this file)" if others else ""
    return ConfigError(f"'{path}'{line_of(text, first['loc'])}: {sentence}{more}.", hint=hint or example)


def _sentence(detail: ErrorDetails, model: type[BaseModel], given: tuple[str, ...]) -> tuple[str, str | None]:
    key = ".".join(str(part) for part in detail["loc"])
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        allowed = _allowed_keys(detail["loc"][:-1], model, given)
        near = difflib.get_close_matches(str(detail["loc"][-1]), allowed, n=1)
        return f"key '{key}' is not known", (
            f"Did you mean '{near[0]}'?" if near else f"Known here: {', '.join(allowed)}."
        )
    if kind == "missing":
        return f"key '{key}' is missing", None
    if kind in ("literal_error", "enum"):
        near = difflib.get_close_matches(str(detail["input"]), str(context["expected"]).replace("'", "").split(), n=1)
        return f"key '{key}' is {detail['input']!r}, wanted {context['expected']}", (
            f"Did you mean '{near[0].rstrip(',')}'?" if near else None
        )
    wanted = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    wanted = wanted.replace("String should match pattern", "text that matches")
    wanted = {"a valid tuple": "a list, in brackets", "a valid dictionary": "a section"}.get(wanted, wanted)
    if kind == "value_error" and isinstance(detail["input"], dict):
        return f"section '{key}': {wanted}" if key else wanted, None
    return f"key '{key}' is {detail['input']!r}, wanted {wanted}", None


def _allowed_keys(section: tuple[int | str, ...], model: type[BaseModel], given: tuple[str, ...]) -> list[str]:
    for part in section:
        field = model.model_fields.get(str(part))
        inner = _model_in(field.annotation) if field else model  # a name that the profile chooses, as of a stage
        if inner is None:
            return []
        model = inner
    return [name for name in model.model_fields if name not in given]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model behind an annotation such as X, X | None or dict[str, X]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _model_in(inner))), None)
