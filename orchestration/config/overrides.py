"""Check command-line overrides against config groups and schema before Hydra parses them; the help text."""

import io
import shlex
import types
import typing
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from fcos.config.parse import known_keys
from fcos.errors import ConfigError, Mistake
from fcos.installation import command
from orchestration.config import conf_files
from orchestration.config.compose import disable_environment_interpolation
from orchestration.config.conf_files import check_files_in_use, experiment_claim, option_file
from orchestration.config.groups import check_own_folder, default_options, groups, suggest_or_list
from orchestration.config.schema import LabConfig

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

# Hydra's option for a folder of config files beside the built-in ones.
CONFIG_DIR = ("--config-dir", "-cd")
# Hydra's options that replace the built-in config files.
OTHER_FILES = ("--config-path", "-cp", "--config-name", "-cn", "hydra.searchpath")
PROGRAM_OPTIONS = (
    "--json: standard output is lines of JSON, for programs. --schema: the JSON schema of the configuration;",
    "--schema=experiment, model, ...: of config files, for editors; --schema=events: of the lines.",
)
OWN_FILES = (
    "the built-in config files always hold; files of your own come beside them with --config-dir=FOLDER, such as "
    "FOLDER/experiment/<name>.yaml for +experiment=<name>"
)


def split_config_dir(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Return the folder of --config-dir (None without one) and all other arguments.

    Raises ConfigError for the option without a folder, or given twice.
    """
    own, others, remaining = None, [], iter(arguments)
    for argument in remaining:
        option, equals, folder = argument.partition("=")
        if option not in CONFIG_DIR:
            others.append(argument)
            continue
        folder = folder if equals else next(remaining, "")
        if not folder:
            raise ConfigError(f"{option}: give the folder with config files of your own, {option}=FOLDER")
        if own is not None:
            raise ConfigError(f"{option}={folder}: a second folder; give one, {option}={own} or this one")
        own = Path(folder).expanduser()
    return own, others


def run_hydra_command(arguments: Sequence[str]) -> None:
    """Run Hydra for --cfg, --info and shell completion, and print its output."""
    import sys

    import hydra

    disable_environment_interpolation()
    own, others = split_config_dir(arguments)
    overrides = [argument for argument in others if "=" in argument and not argument.startswith("-")]
    for argument in others:
        if argument.partition("=")[0] in OTHER_FILES:
            _check_form(argument)
    flags = [argument for argument in others if argument not in overrides]
    completing = "-sc" in flags or "--shell-completion" in flags
    checked = overrides if completing else check_overrides(overrides, own)
    sys.argv = [sys.argv[0], *flags, *([] if own is None else [f"--config-dir={own}"]), *checked]
    # Captured and printed here: Hydra shows a traceback where standard output is closed.
    with redirect_stdout(io.StringIO()) as shown:
        hydra.main(config_path=str(conf_files.CONF), config_name="config", version_base=None)(lambda config: None)()
    print(shown.getvalue(), end="", flush=True)


def check_overrides(arguments: Sequence[str], own: Path | None = None) -> list[str]:
    """Return overrides in Hydra's syntax, where every valid key may be set without a plus sign.

    The schema has keys with defaults that the YAML files do not contain, and that Hydra would refuse. Values are
    therefore passed on as `++key=value` after a check that the schema has the key. `own` is the folder of
    --config-dir, whose options may be chosen too. Raises ConfigError with close matches.
    """
    for argument in arguments:
        _check_form(argument)
    if own is not None:
        check_own_folder(own)
    options = groups(own)
    checked: list[str] = []
    chosen: dict[str, str | None] = {}
    for override in map(_parse_override, arguments):
        line = str(override.input_line)
        key, _, value = line.partition("=")
        key = key.lstrip("+")
        if override.is_sweep_override():
            raise ConfigError(_multiple_values_message(line, key, value))
        if override.is_delete():
            checked.append(line)
        elif key in options and not value.strip().startswith("{"):
            option = _checked_option(key, value, options[key])
            if key in chosen and key == "experiment":
                raise ConfigError(f"{line}: a second experiment beside experiment={chosen[key]}; give one of them")
            if key in chosen:
                # The last one counts, as for values.
                checked.remove(_choice(key, chosen[key]))
            chosen[key] = option
            checked.append(_choice(key, option))
        else:
            check_key(key, line)
            checked.append(f"++{key}={value}")
    check_files_in_use(chosen, own)
    return checked


def _choice(group: str, option: str | None) -> str:
    """Return the override of a choice; Hydra does not support null as the option of a group."""
    if option is None:
        return f"~{group}"
    return f"{'+' if group == 'experiment' else ''}{group}={option}"


def _check_form(argument: str) -> None:
    if argument in ("-m", "--multirun"):
        raise ConfigError("--multirun: a sweep is what an experiment file says; use +experiment=<name>")
    key = argument.lstrip("+").partition("=")[0]
    if key in OTHER_FILES:
        raise ConfigError(f"{key}: {OWN_FILES}")
    if argument.startswith("-"):
        raise ConfigError(f"{argument}: no such option; values are given as key=value, see --help")
    if "=" not in argument and not argument.startswith("~"):
        raise ConfigError(f"{argument}: give a value as {argument}=...")


def _parse_override(argument: str) -> "Override":
    """Parse an override with Hydra's grammar; take the value of a text key literally.

    In Hydra's grammar = ( ) # , ~ and blanks have a meaning, letters are ASCII, and 123 and true are a number and a
    boolean; a path may contain or be any of these. Quotes, null, lists and escapes keep Hydra's meaning.
    Raises ConfigError for what cannot be parsed, with the way to quote it.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Quote, QuotedString
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    key, _, value = argument.partition("=")
    holds_text = not argument.startswith("~") and is_text_key(key.lstrip("+"))
    try:
        parsed = parser.parse_override(argument)
        as_typed = holds_text and (parsed.is_sweep_override() or isinstance(parsed.value(), int | float))
        if not as_typed:
            return parsed
    except HydraException:
        if not holds_text:
            raise ConfigError(_syntax_message(argument)) from None
    return parser.parse_override(f"{key}={QuotedString(value, Quote.single).with_quotes()}")


def _syntax_message(argument: str) -> str:
    """Return the message for an override that Hydra cannot parse; raise ConfigError where its key is unknown."""
    key, _, value = argument.partition("=")
    if not key.startswith("~") and key.lstrip("+") not in groups():
        check_key(key.lstrip("+"), argument)
    if value.lstrip().startswith(("[", "{")):
        rules = (
            "its brackets must close, and text with other characters than letters, digits and / - . _ : needs quotes"
        )
        return f"{argument}: not readable; a list or mapping needs quotes in a shell, '{key}=...'; {rules} of its own"
    from hydra.core.override_parser.types import Quote, QuotedString

    quoted = shlex.quote(f"{key}={QuotedString(value, Quote.double).with_quotes()}")
    return f"{argument}: not readable; write {quoted} (outer quotes for the shell, inner ones for the config)"


def _multiple_values_message(line: str, key: str, value: str) -> str:
    message = f"{line}: several values; arms and seeds belong into an experiment"
    return message if "(" in value else f"{message}, and a list has brackets: {shlex.quote(f'{key}=[{value}]')}"


def _checked_option(group: str, option: str, options: Sequence[str]) -> str | None:
    """Return the chosen option; None omits a group, which only one without a default in conf/config.yaml permits."""
    name = option.strip().strip("'\"")
    if name in options:
        return name
    default = default_options().get(group)
    if name.lower() != "null":
        raise ConfigError(Mistake(f"no such {group}", group, name, hint=suggest_or_list(name, options)))
    if group == "experiment":
        raise ConfigError("experiment=null: leave experiment out")
    if default is not None:
        raise ConfigError(f"{group}=null: leave {group} out for {default}, or choose one: {', '.join(options)}")
    return None


def check_key(key: str, line: str) -> None:
    """Raise ConfigError with close matches for a dotted key that is not in the schema."""
    parts = key.split(".")
    # Keys below an arm, a level or a search space are checked elsewhere; names of arms, factors and levels are free.
    free = [["experiment", name] for name in ("arms", "factors", "paper")]
    if parts[:2] in free or parts[:3] == ["experiment", "search", "space"]:
        return
    for depth, part in enumerate(parts):
        known = known_keys(LabConfig, parts[:depth])
        if part in known:
            continue
        candidates = [full for full in dotted_keys(LabConfig) if full.split(".")[-1] == parts[-1]]
        if known and not candidates:
            parent = ".".join(parts[:depth])
            candidates = [f"{parent}.{name}" if parent else name for name in known]
        given, mark, value = line.partition("=")
        hint = suggest_or_list(key, candidates or dotted_keys(LabConfig))
        raise ConfigError(Mistake(f"no such key {key}", given, value if mark else None, hint=hint))


def dotted_keys(schema: type[BaseModel]) -> list[str]:
    """Return every leaf of a schema as a dotted key."""
    return list(_leaves(schema))


def is_text_key(key: str) -> bool:
    """Return whether a dotted key, of the schema, an arm or a level, has free text as its value."""
    parts = key.split(".")
    # The parts before the key itself: experiment.arms.ARM, experiment.factors.FACTOR.LEVEL.
    depth = {"experiment.arms": 3, "experiment.factors": 4}.get(".".join(parts[:2]), 0)
    kind = _leaves(LabConfig).get(".".join(parts[depth:]))
    members = typing.get_args(kind) if typing.get_origin(kind) in (types.UnionType, typing.Union) else (kind,)
    # Annotated types without their validators.
    bare = {typing.get_args(each)[0] if typing.get_origin(each) is typing.Annotated else each for each in members}
    return bare - {types.NoneType} == {str}


def _leaves(schema: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Return every leaf of a schema as a dotted key, with its type."""
    leaves: dict[str, Any] = {}
    for name, field in schema.model_fields.items():
        kinds = [field.annotation, *typing.get_args(field.annotation)]
        sections = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if sections:
            leaves |= _leaves(sections[0], f"{prefix}{name}.")
        else:
            leaves[f"{prefix}{name}"] = field.annotation
    return leaves


def help_text(name: str, purpose: str, examples: Sequence[str], arguments: Sequence[str] = ()) -> str:
    """Return the help text of a command: groups with options, experiments with claims, and examples.

    `name` is sweep, train, doctor or lr_range. A folder of --config-dir among the arguments is included.
    """
    own, _ = split_config_dir(arguments)
    if own is not None:
        check_own_folder(own)
    options = groups(own)
    lines = [purpose, "", f"usage: {command(name)} [--config-dir=FOLDER] [group=option] [key=value] ...", ""]
    lines.append("Groups")
    others = [group for group in options if group != "experiment"]
    lines += [f"  {group:<{_width(others)}}  {', '.join(options[group])}" for group in others]
    lines += ["", "Experiments (+experiment=<name>)"]
    experiments = options["experiment"]
    width = _width(experiments)
    lines += [f"  {each:<{width}}  {_claim(option_file('experiment', each, own))}" for each in experiments]
    lines += ["", "Examples"]
    lines += [f"  {command(name)} {example}".rstrip() for example in examples]
    lines += [
        "",
        "--config-dir=FOLDER adds files of your own: FOLDER/experiment/<name>.yaml for +experiment=<name>.",
        "What a command line comes to: --cfg job. All keys: fcos/config/run.py, orchestration/config/schema.py.",
        *([] if name == "lr_range" else PROGRAM_OPTIONS),
        "",
    ]
    return "\n".join(lines)


def _width(names: Sequence[str]) -> int:
    return max(map(len, names), default=0)


def _claim(file: Path) -> str:
    """Return the claim of an experiment, or the error in its file."""
    try:
        return experiment_claim(file)
    except ConfigError as error:
        return f"(cannot be used: {error})"
