"""Command line that all programs share: flags from settings, one-line errors, the platform, and the exit code."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from absl import app, flags, logging

from experiments import help_groups
from experiments.config_flags import WRONG_CONFIG, explain_config_error, named_configs
from experiments.large_pages import use_large_pages
from timbre_jax.files import why_full
from timbre_jax.settings import Settings, field_types, setting

T = TypeVar("T")

flags.disclaim_key_flags()  # flags defined by functions of this module belong to the program that calls them


@dataclasses.dataclass(frozen=True)
class DeviceSettings(Settings):
    """Devices that a program computes on."""

    platform: str | None = setting(None, "cpu, cuda or tpu. Default: the best that JAX finds.")
    parallel: str = setting("jit", "How several devices are used; the numbers are the same.", choices=("jit", "pmap"))


def run(
    main: Callable[[Sequence[str]], int | None],
    documentation: str,
    *,
    rest: bool = False,
    large_pages: bool = False,
    resumable: bool = False,
) -> None:
    """Runs an absl main; wrong input ends with one line on stderr and exit code 1, wrong flags with 2.

    Args:
      main: takes the arguments that are not flags; its integer is the exit code.
      documentation: docstring of the program, for --help.
      rest: whether arguments that are not flags are allowed.
      large_pages: whether the program runs faster with large pages of memory (`large_pages.py`).
      resumable: whether the same command resumes the work after Ctrl-C.
    """
    if large_pages:
        use_large_pages()
    sys.modules["__main__"].__doc__ = documentation
    if hasattr(sys.stdout, "reconfigure"):  # file names need not be valid text
        sys.stdout.reconfigure(errors="backslashreplace")

    if help_groups.asked(sys.argv):
        print(help_groups.help_text(documentation))
        sys.exit(0)

    def checked(arguments: Sequence[str]) -> int | None:
        if len(arguments) > 1 and not rest:
            _end(f"there is no argument {arguments[1]!r}; options begin with --, see --help", 2)
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # notes of libraries are for their developers
        try:
            return main(arguments)
        except (ValueError, OSError, RuntimeError) as error:
            message = _device_message(str(error)) if isinstance(error, RuntimeError) else str(error)
            if os.environ.get("TIMBRE_TRACEBACK") or not message:
                raise
            _end(_system_message(error) if isinstance(error, OSError) else message, 1)
        except KeyboardInterrupt:
            _end("stopped by Ctrl-C" + ("; the same command resumes the work" if resumable else ""), 130)

    app.run(checked, flags_parser=_parse)


def define_flags(**groups: type) -> None:
    """Defines one flag for each field of some settings dataclasses (`timbre_jax.settings`).

    Flags have no default of their own: a flag that is not given keeps the default of the dataclass, which the help text states.

    Args:
      groups: dataclasses of settings by the name of their group in --help; underscores become spaces.
    """
    for name, kind in groups.items():
        for field in dataclasses.fields(kind):
            _define_flag(kind, field, _help(field), group=name.replace("_", " ").capitalize())


def define_choice(flag: str, kinds: dict[str, type], *, default: str, help: str) -> None:
    """Defines a flag that chooses among kinds of settings, and the flags of all kinds.

    A field that several kinds share is one flag; its help text names the kinds that have it.

    Args:
      flag: name of the flag, such as "source".
      kinds: dataclasses of settings by name.
      default: name of the kind that is chosen if the flag is not given.
      help: help text of the flag.
    """
    flags.DEFINE_enum(flag, default, list(kinds), f"{help} Default: {default}.")
    help_groups.add(flag.capitalize(), flag)
    owners: dict[str, dict[str, dataclasses.Field]] = {}
    for name, kind in kinds.items():
        for field in dataclasses.fields(kind):
            owners.setdefault(field.name, {})[name] = field
    for fields in owners.values():
        (name, field), *others = fields.items()
        text = _help_of_several(fields, len(kinds)) if others else _help(field)
        _define_flag(kinds[name], field, text, group=flag.capitalize() if others else f"--{flag}={name}")


def chosen_settings(flag: str, kinds: dict[str, type[T]]) -> T:
    """Returns the settings of the kind that a flag of `define_choice` chooses.

    Raises:
      ValueError: a flag was given that only other kinds have; and the errors of `settings`.
    """
    fields = {name: field_types(kind).keys() for name, kind in kinds.items()}
    chosen = flags.FLAGS[flag].value
    for field in dict.fromkeys(field for own in fields.values() for field in own):
        if field not in fields[chosen] and flags.FLAGS[field].present:
            having = " or ".join(name for name, own in fields.items() if field in own)
            raise ValueError(f"--{field} is for --{flag}={having}, not for {chosen}")
    return settings(kinds[chosen])


def _define_flag(kind: type, field: dataclasses.Field, text: str, *, group: str) -> None:
    """Defines the flag of a field."""
    limits, wanted = field.metadata, field_types(kind)[field.name]
    define: Callable = {bool: flags.DEFINE_bool, tuple: flags.DEFINE_list}.get(wanted, flags.DEFINE_string)
    options: dict = {}
    if limits.get("parse"):
        define = flags.DEFINE_string
    elif wanted in (int, float):
        define = flags.DEFINE_integer if wanted is int else flags.DEFINE_float
        options = {"lower_bound": limits.get("low"), "upper_bound": limits.get("high")}
    elif limits.get("choices"):
        define, options = flags.DEFINE_enum, {"enum_values": limits["choices"]}
    define(field.name, default=None, help=text, **options)
    help_groups.add(group, field.name)


def _help(field: dataclasses.Field) -> str:
    """Returns the help text of a field with its default."""
    text, default = field.metadata.get("help", ""), _default(field)
    return f"{text} Default: {default}." if default else f"{text} Required." if field.default is dataclasses.MISSING else text


def _help_of_several(fields: dict[str, dataclasses.Field], count: int) -> str:
    """Returns the help text of a field that several of `count` kinds have: their names, each text once, and the defaults."""
    texts: dict[str, list[str]] = {}
    for name, field in fields.items():
        texts.setdefault(field.metadata.get("help", ""), []).append(name)
    parts = []
    for text, names in texts.items():
        parts.append(text if len(names) == count else f"{', '.join(names)}: {text}")
        defaults: dict[str, list[str]] = {}
        for name in names:
            defaults.setdefault(_default(fields[name]), []).append(name)
        values = [f"{value} ({', '.join(having)})" if len(defaults) > 1 else value for value, having in defaults.items()]
        if any(defaults):
            parts.append(f"Default: {'; '.join(values)}.")
    return " ".join(parts)


def _default(field: dataclasses.Field) -> str:
    """Returns the default of a field as text, or "" if the help text need not state it."""
    default = field.default
    if default in (dataclasses.MISSING, None, "", ()) or isinstance(default, bool):
        return ""
    return field.metadata.get("shown") or (",".join(map(str, default)) if isinstance(default, tuple) else str(default))


def settings(kind: type[T], **others) -> T:
    """Returns settings of a kind with the values of the flags that were given on the command line.

    Args:
      others: values that are not flags.

    Raises:
      ValueError: a required setting is missing, or a value is outside its limits.
    """
    values, wanted = dict(others), field_types(kind)
    for field in dataclasses.fields(kind):
        if field.name in others or field.name not in flags.FLAGS:
            continue
        value = flags.FLAGS[field.name].value
        if value is None:
            continue
        if field.metadata.get("parse"):
            value = field.metadata["parse"](value)
        elif wanted[field.name] is tuple:
            value = tuple(value)
        values[field.name] = value
    missing = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING and f.name not in values]
    if missing:
        raise ValueError(f"give {' and '.join(f'--{name}=...' for name in missing)}; see --help")
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"--{error}" if str(error).split("=")[0] in wanted else str(error)) from None


def print_written(*paths: str | os.PathLike, next: Sequence[Sequence[str]] = ()) -> None:
    """Prints what a program wrote, and commands to run next that can be pasted.

    Args:
      paths: files or folders.
      next: the words of each command, without "python".
    """
    for path in paths:
        print(f"Wrote {path}")
    if next:
        print("Next:")
    for words in next:
        print(f"  {shlex.join(['python', *words])}")


def use_platform(name: str | None) -> None:
    """Makes JAX compute on "cpu", "cuda" or "tpu". Call it before anything else uses JAX's devices.

    The environment variable alone would be too late: reading a configuration imports JAX.

    Args:
      name: the platform; None leaves the choice to JAX.

    Raises:
      ValueError: CUDA was asked for and JAX has no plugin for it, for which JAX's own error gives no reason.
    """
    if name == "cuda" and not any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in range(11, 20)):
        raise ValueError('--platform=cuda: JAX has no CUDA plugin installed; run pip install "jax[cuda12]" or "jax[cuda13]"')
    if name:
        import jax

        os.environ["JAX_PLATFORMS"] = name
        jax.config.update("jax_platforms", name)


def use_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder; JAX_COMPILATION_CACHE_DIR names another, empty turns it off."""
    import jax

    default = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "timbre_jax", "jax")
    directory = os.environ.get("JAX_COMPILATION_CACHE_DIR", default)
    if directory:
        jax.config.update("jax_compilation_cache_dir", directory)


def _parse(arguments: Sequence[str]) -> list[str]:
    arguments = named_configs([_expand_home(argument) for argument in arguments])
    try:
        rest = flags.FLAGS(arguments)
        if "config" in flags.FLAGS and flags.FLAGS["config"].present:
            config = flags.FLAGS["config"].value
            if not isinstance(config, str) and not hasattr(config, "keys"):
                raise ValueError(f"--config={config}")
        return rest
    except BrokenPipeError:  # `--help | head`
        os._exit(1)
    except flags.Error as error:
        _end(f"{' '.join(str(error).split())}; see --help", 2)
    except WRONG_CONFIG as error:
        if os.environ.get("TIMBRE_TRACEBACK"):
            raise
        _end(explain_config_error(arguments) or " ".join(str(error).split()), 2)


def _expand_home(argument: str) -> str:
    """Returns --out=~/notes with the user's folder: shells expand ~ only at the beginning of a word."""
    name, equals, value = argument.partition("=")
    if not (equals and name.startswith("-")):
        return argument
    return f"{name}={','.join(os.path.expanduser(part) for part in value.split(','))}"


def _device_message(text: str) -> str:
    """Returns what the user can do about an error of JAX's runtime, or ""."""
    first = " ".join(text.split())[:160]
    if "RESOURCE_EXHAUSTED" in text:
        ways = {"config": "--config.train.accumulate=N", "at_once": "--at_once=N", "number": "--number=N"}
        less = " or ".join(way for name, way in ways.items() if name in flags.FLAGS)
        return f"the device's memory is full ({first}){f'; less at once: {less}' if less else ''}"
    return first if text.startswith("Unable to initialize backend") else ""


def _system_message(error: OSError) -> str:
    """Returns an error of the operating system as one line that names the file."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}" + ("; free some space and run the same command again" if why_full(error) else "")


def _end(message: str, code: int) -> None:
    first = message.strip().splitlines()
    print(f"error: {first[0] if first else 'unknown'}", file=sys.stderr)
    sys.exit(code)
