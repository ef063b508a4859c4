"""Where a user's data sets, results and caches lie: environment variables, `.env`, the user's settings file."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stroma.core.errors import InvalidData, UsageError, nearest

SETTINGS_FILE = "variables.env"
CACHE_VARIABLE = "PATH_STROMA_CACHE"
EXAMPLE_LINES = (
    "PATH_Tivita_HeiPorSPECTRAL=/data/HeiPorSPECTRAL:shortcut=heipor",
    "PATH_HTC_RESULTS=/data/results",
    f"{CACHE_VARIABLE}=/data/cache",
)
"""What a settings file may hold."""

_DATASET = "path_tivita"
_RESULTS = "PATH_HTC_RESULTS"
_NETWORK = ("PATH_E130_Projekte", "PATH_HTC_NETWORK")
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*)")
_OPTIONS = re.compile(r"(.*?):(\w+=\w*(?:;\w+=\w*)*)")
_KNOWN_OPTIONS = ("shortcut", "has_unified_paths")


@dataclass(frozen=True)
class Setting:
    """A variable.

    Attributes:
        value: Of it.
        source: `environment`, or the file it stands in.
    """

    value: str
    source: str


@dataclass(frozen=True)
class DatasetPlace:
    """A data set that a variable `PATH_Tivita_…` names.

    Attributes:
        variable: The variable.
        path: Its folder.
        shortcut: A short name that the user gave it, or an empty string.
        source: `environment`, or the file the variable stands in.
        problems: What is wrong with the variable or the folder.
    """

    variable: str
    path: Path
    shortcut: str = ""
    source: str = "environment"
    problems: tuple[str, ...] = field(default=())

    @property
    def names(self) -> tuple[str, ...]:
        """Every name by which the data set can be called: shortcut, folder, variable with and without prefix."""
        bare = self.variable[len(_DATASET) :].lstrip("_")
        names = (self.shortcut, self.path.name, bare, self.variable)
        return tuple(dict.fromkeys(name for base in names if base for name in (base, base.upper())))


def settings_folder(program: str = "stroma") -> Path:
    """Folder of the user's settings of a program, as the system wants it."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / program
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / program
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / program


def settings_files(folder: Path | None = None) -> list[Path]:
    """Files that may hold variables, the first one wins: `.env` here, the user's file, the user's file of htc."""
    here = Path.cwd() if folder is None else folder
    return [here / ".env", settings_folder() / SETTINGS_FILE, settings_folder("htc") / SETTINGS_FILE]


def read_variables(path: Path) -> dict[str, str]:
    """Read a file of lines `NAME=value`; `export`, quotes, comments and, outside of '…', `$HOME` are understood.

    Raises:
        InvalidData: a line is neither, or the file is no text.
    """
    values: dict[str, str] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidData(f"cannot be read ({error})", where=path) from error
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise InvalidData(f"line {number} is not NAME=value", where=path, next_step=f"Write {EXAMPLE_LINES[0]}")
        name, value = match[1], match[2]
        quoted = re.match(r"(['\"])(.*?)\1", value)
        text = quoted[2] if quoted else re.split(r"\s#", value, maxsplit=1)[0].strip()
        values[name] = text if quoted and quoted[1] == "'" else os.path.expandvars(text)
    return values


def known_settings(
    environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> tuple[dict[str, Setting], list[InvalidData]]:
    """All variables that Stroma understands, and what is wrong with the others. The real environment wins.

    A variable without a value is none. Names that are nearly ours are told.

    Args:
        environment: Default: the environment of this process.
        folder: Where to look for `.env`; default: the working folder.
    """
    environment = os.environ if environment is None else environment
    found: dict[str, Setting] = {name: Setting(value, "environment") for name, value in environment.items()}
    problems = []
    for path in settings_files(folder):
        if path.is_file():
            try:
                values = read_variables(path)
            except InvalidData as error:
                problems.append(error)
                continue
            for name, value in values.items():
                found.setdefault(name, Setting(value, str(path)))
    own = str(settings_folder() / SETTINGS_FILE)
    for name, setting in sorted(found.items()):
        if is_ours(name) and not setting.value:
            problems.append(InvalidData(f"{name} is empty", where=setting.source))
        elif not is_ours(name) and (name.startswith("PATH_STROMA_") or setting.source == own):
            hint = nearest(name, ("PATH_Tivita_…", _RESULTS, CACHE_VARIABLE, *_NETWORK))
            if hint.startswith("Did"):
                problems.append(InvalidData(f"{name} is not understood", where=setting.source, next_step=hint))
    return {name: found[name] for name in sorted(found) if is_ours(name) and found[name].value}, problems


def is_ours(name: str) -> bool:
    """Whether Stroma understands a variable of this name."""
    return name.lower().startswith(_DATASET) or name.startswith(_RESULTS) or name in (CACHE_VARIABLE, *_NETWORK)


def known_datasets(settings: Mapping[str, Setting] | None = None) -> list[DatasetPlace]:
    """The data sets of all variables `PATH_Tivita_…`, also those whose folder is missing."""
    settings = known_settings()[0] if settings is None else settings
    places = [_place(name, setting) for name, setting in settings.items() if name.lower().startswith(_DATASET)]
    return [_with_namesakes(place, places) for place in places]


def _place(variable: str, setting: Setting) -> DatasetPlace:
    text, shortcut = setting.value, ""
    problems = []
    match = _OPTIONS.fullmatch(text)
    if match:
        text = match[1]
        for option in match[2].split(";"):
            name, _, value = option.partition("=")
            if name not in _KNOWN_OPTIONS or not value:
                problems.append(f"has the option '{option}', which is not understood")
            elif name == "shortcut":
                shortcut = value
    path = Path(os.path.normpath(Path(text or setting.value).expanduser()))
    if not path.exists():
        problems.append(f"names {path}, which does not exist")
    elif not path.is_dir():
        problems.append(f"names {path}, which is no folder")
    elif not (path / "data").is_dir():
        above = f"; name the folder above it, {path.parent}" if (path / "subjects").is_dir() else ""
        problems.append(f"names {path}, which has no folder 'data'{above}")
    return DatasetPlace(variable, path, shortcut, setting.source, tuple(problems))


def _with_namesakes(place: DatasetPlace, places: list[DatasetPlace]) -> DatasetPlace:
    others = [other.variable for other in places if other is not place and set(other.names) & set(place.names)]
    if not others:
        return place
    problem = f"shares a name with {', '.join(others)}; give each a ':shortcut=' of its own"
    return DatasetPlace(place.variable, place.path, place.shortcut, place.source, (*place.problems, problem))


def find_dataset(name: str, settings: Mapping[str, Setting] | None = None) -> DatasetPlace:
    """The data set of this shortcut, folder name or variable.

    Raises:
        UsageError: there is none, or there are several.
    """
    places = known_datasets(settings)
    found = [place for place in places if name in place.names or name.lower() == place.variable.lower()]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"the data set '{name}' can be {' or '.join(place.variable for place in found)}",
            next_step="Use the name of the variable",
        )
    hint = nearest(name, [name for place in places for name in place.names])
    raise UsageError(
        f"there is no data set '{name}'", next_step=hint or f"Name it in the environment: {EXAMPLE_LINES[0]}"
    )


def result_folders(settings: Mapping[str, Setting] | None = None) -> dict[str, Path]:
    """`PATH_HTC_RESULTS` (where htc writes) and `PATH_HTC_RESULTS_…` (read as well): variable → folder."""
    settings = known_settings()[0] if settings is None else settings
    return {name: Path(setting.value).expanduser() for name, setting in settings.items() if name.startswith(_RESULTS)}


def network_folder(settings: Mapping[str, Setting] | None = None) -> Path | None:
    """The folder above the data sets of a network drive (`PATH_E130_Projekte`, else `PATH_HTC_NETWORK`), if set."""
    settings = known_settings()[0] if settings is None else settings
    return next((Path(settings[name].value).expanduser() for name in _NETWORK if name in settings), None)


def cache_folder(settings: Mapping[str, Setting] | None = None) -> Path:
    """Where derived tables of read-only data sets go: `PATH_STROMA_CACHE`, else the system's cache folder."""
    settings = known_settings()[0] if settings is None else settings
    if CACHE_VARIABLE in settings:
        return Path(settings[CACHE_VARIABLE].value).expanduser()
    if sys.platform == "win32":
        return settings_folder() / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "stroma"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stroma"
