"""Command line of all programs: flags from settings, one-line errors and exit codes."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from absl import app, flags, logging

from experiments import help_groups
from experiments.config_flags import WRONG_CONFIG, explain_config_error, named_configs
from experiments.large_pages import use_large_pages
from timbre_jax.files import disk_full_message
from timbre_jax.settings import Settings, field_types, setting

T = TypeVar("T")

flags.disclaim_key_flags()  # the flags that this module defines belong to the program that calls it


@dataclasses.dataclass(frozen=True)
class DeviceSettings(Settings):
    """Settings of the devices that a program computes on."""

    platform: str | None = setting(
        None, "Platform that JAX computes on: cpu, cuda or tpu. Default: the fastest that JAX detects."
    )
    parallel: str = setting(
        "jit", "Method that divides batches among devices; both give the same numbers.", choices=("jit", "pmap")
    )


def run(
    main: Callable[[Sequence[str]], int | None],
    documentation: str,
    *,
    allow_arguments: bool = False,
    large_pages: bool = False,
    resumable: bool = False,
) -> None:
    """Runs the main function of a program and exits.

    An error in the input is printed as one line on stderr, with exit code 1; an error in the flags, with exit code 2.

    Args:
      main: takes the arguments that are not flags; returns the exit code, or None for 0.
      documentation: docstring of the program, for --help.
      allow_arguments: whether arguments that are not flags are allowed.
      large_pages: whether to use large memory pages (`large_pages.py`).
      resumable: whether the same command resumes the work after Ctrl-C.
    """
    if large_pages:
        use_large_pages()
    if hasattr(sys.stdout, "reconfigure"):  # file names need not be valid text
        sys.stdout.reconfigure(errors="backslashreplace")
    if help_groups.is_requested(sys.argv):
        try:
            print(help_groups.help_text(documentation), flush=True)
        except BrokenPipeError:  # `--help | head`
            os._exit(1)
        sys.exit(0)

    def run_main(arguments: Sequence[str]) -> int | None:
        if len(arguments) > 1 and not allow_arguments:
            _exit_with_error(f"{arguments[1]}: unexpected argument; flags begin with --, see --help", 2)
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # hides the notes of libraries
        try:
            return main(arguments)
        except (ValueError, OSError, RuntimeError) as error:
            message = _device_message(str(error)) if isinstance(error, RuntimeError) else str(error)
            if os.environ.get("TIMBRE_TRACEBACK") or not message:
                raise
            _exit_with_error(_system_message(error) if isinstance(error, OSError) else message, 1)
        except KeyboardInterrupt:
            _exit_with_error("stopped by Ctrl-C" + ("; the same command resumes the work" if resumable else ""), 130)

    app.run(run_main, flags_parser=_parse)


def define_flags(**groups: type) -> None:
    """Defines a flag for each field of settings dataclasses (`timbre_jax.settings`).

    The flags have no defaults of their own. A flag that is not given keeps the default of the dataclass, which the help text
    states.

    Args:
      groups: settings dataclasses; the keyword is the name of their group in --help, with spaces for underscores.
    """
    for name, kind in groups.items():
        for field in dataclasses.fields(kind):
            _define_flag(kind, field, _help(field), group=name.replace("_", " ").capitalize())


def define_choice(flag: str, kinds: Mapping[str, type], *, default: str, help: str) -> None:
    """Defines a flag that selects one of several settings dataclasses, and all their flags.

    Fields of the same name are one flag, whose help text names the dataclasses that have it.

    Args:
      flag: name of the flag, such as "source".
      kinds: settings dataclasses by the value of the flag.
      default: value of the flag if it is not given.
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


def chosen_settings(flag: str, kinds: Mapping[str, type[T]]) -> T:
    """Returns the settings that a flag of `define_choice` selects.

    Args:
      flag: name of the flag.
      kinds: settings dataclasses by the value of the flag.

    Raises:
      ValueError: if a flag is given that the selected settings do not have, or `settings` fails.
    """
    fields = {name: field_types(kind).keys() for name, kind in kinds.items()}
    chosen = flags.FLAGS[flag].value
    for field in dict.fromkeys(field for own in fields.values() for field in own):
        if field not in fields[chosen] and flags.FLAGS[field].present:
            owners = " or ".join(name for name, own in fields.items() if field in own)
            raise ValueError(f"--{field}: only for --{flag}={owners} (got --{flag}={chosen})")
    return settings(kinds[chosen])


def flag_value(name: str) -> str:
    """Returns the value of a string flag."""
    return flags.FLAGS[name].value


def flag_given(name: str) -> bool:
    """Returns whether a flag is on the command line."""
    return flags.FLAGS[name].present


def _define_flag(kind: type, field: dataclasses.Field, text: str, *, group: str) -> None:
    """Defines the flag of a field."""
    limits, value_type = field.metadata, field_types(kind)[field.name]
    by_type = {bool: flags.DEFINE_bool, tuple: flags.DEFINE_list, list: flags.DEFINE_multi_string}
    define: Callable = by_type.get(value_type, flags.DEFINE_string)
    options: dict = {}
    if limits.get("parse"):
        define = flags.DEFINE_string
    elif value_type in (int, float):
        define = flags.DEFINE_integer if value_type is int else flags.DEFINE_float
        options = {"lower_bound": limits.get("low"), "upper_bound": limits.get("high")}
    elif limits.get("choices"):
        define, options = flags.DEFINE_enum, {"enum_values": limits["choices"]}
    define(field.name, default=None, help=text, **options)
    help_groups.add(group, field.name)


def _help(field: dataclasses.Field) -> str:
    """Returns the help text of a field with its default."""
    text, default = field.metadata.get("help", ""), _default(field)
    if field.default is dataclasses.MISSING:
        return f"{text} Required."
    return f"{text} Default: {default}." if default else text


def _help_of_several(fields: dict[str, dataclasses.Field], count: int) -> str:
    """Returns the help text of a field that some or all of `count` dataclasses have, by name."""
    texts: dict[str, list[str]] = {}
    for name, field in fields.items():
        texts.setdefault(field.metadata.get("help", ""), []).append(name)
    parts = []
    for text, names in texts.items():
        parts.append(text if len(names) == count else f"{', '.join(names)}: {text}")
        defaults: dict[str, list[str]] = {}
        for name in names:
            defaults.setdefault(_default(fields[name]), []).append(name)
        values = [f"{value} ({', '.join(owners)})" if len(defaults) > 1 else value for value, owners in defaults.items()]
        if any(defaults):
            parts.append(f"Default: {'; '.join(values)}.")
    return " ".join(parts)


def _default(field: dataclasses.Field) -> str:
    """Returns the default of a field as text; "" for False and empty defaults."""
    default = field.default
    if shown := field.metadata.get("shown"):
        return shown
    if isinstance(default, bool):
        return "true" if default else ""
    if default in (dataclasses.MISSING, None, "", ()):
        return ""
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


def settings(kind: type[T]) -> T:
    """Returns settings with the values of the flags on the command line.

    Args:
      kind: settings dataclass whose fields are flags.

    Raises:
      ValueError: if a required setting is missing or a value is outside its limits.
    """
    values, value_types = {}, field_types(kind)
    for field in dataclasses.fields(kind):
        value = flags.FLAGS[field.name].value
        if value is None:
            continue
        if field.metadata.get("parse"):
            value = field.metadata["parse"](value)
        elif value_types[field.name] is tuple:
            value = tuple(value)
        values[field.name] = value
    missing = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING and f.name not in values]
    if missing:
        names = [f"--{name}" for name in missing]
        raise ValueError(f"{', '.join(names)}: missing; give {' '.join(f'{name}=...' for name in names)}, see --help")
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"--{error}" if str(error).split("=")[0] in value_types else str(error)) from None


def print_written(*paths: str | os.PathLike, next: Sequence[Sequence[str]] = ()) -> None:
    """Prints the files that a program wrote, and commands to run next.

    Args:
      paths: files or folders.
      next: commands, each as its words after "python"; they are quoted for the shell.
    """
    for path in paths:
        print(f"Wrote {path}")
    if next:
        print("Next:")
    for words in next:
        print(f"  {shlex.join(['python', *words])}")


def use_platform(name: str | None) -> None:
    """Selects the platform that JAX computes on. Call it before JAX's devices are used.

    Setting the environment variable is not enough: reading a configuration has already imported JAX.

    Args:
      name: "cpu", "cuda" or "tpu"; None leaves the choice to JAX.

    Raises:
      ValueError: if the platform is "cuda" and JAX has no CUDA plugin; JAX's own error does not mention the plugin.
    """
    if name == "cuda" and not any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in range(11, 20)):
        raise ValueError('--platform=cuda: JAX has no CUDA plugin installed; run pip install "jax[cuda12]" or "jax[cuda13]"')
    if name:
        import jax

        os.environ["JAX_PLATFORMS"] = name
        jax.config.update("jax_platforms", name)


def use_compilation_cache() -> None:
    """Keeps compiled programs on disk for later runs.

    The folder is the user's cache folder, or JAX_COMPILATION_CACHE_DIR; if that variable is empty, nothing is kept.
    """
    import jax

    default = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "timbre_jax", "jax")
    directory = os.environ.get("JAX_COMPILATION_CACHE_DIR", default)
    if directory:
        jax.config.update("jax_compilation_cache_dir", directory)


def _parse(arguments: Sequence[str]) -> list[str]:
    """Parses the flags and returns the other arguments; exits if a flag is wrong."""
    arguments = named_configs([_expand_home(argument) for argument in arguments])
    try:
        allow_arguments = flags.FLAGS(arguments)
        if "config" in flags.FLAGS and flags.FLAGS["config"].present:
            config = flags.FLAGS["config"].value
            if not isinstance(config, str) and not hasattr(config, "keys"):
                raise ValueError(f"--config={config}")
        return allow_arguments
    except flags.Error as error:
        _exit_with_error(f"{' '.join(str(error).split())}; see --help", 2)
    except WRONG_CONFIG as error:
        if os.environ.get("TIMBRE_TRACEBACK"):
            raise
        _exit_with_error(explain_config_error(arguments) or " ".join(str(error).split()), 2)


def _expand_home(argument: str) -> str:
    """Expands ~ in the value of a flag; shells expand it only at the beginning of a word."""
    name, equals, value = argument.partition("=")
    if not (equals and name.startswith("-")):
        return argument
    return f"{name}={','.join(os.path.expanduser(part) for part in value.split(','))}"


def _device_message(text: str) -> str:
    """Returns a one-line message for an error of JAX's runtime, or "" for other errors."""
    first = " ".join(text.split())[:160]
    if "RESOURCE_EXHAUSTED" in text:
        remedies = {"config": "--config.train.accumulate=N", "at_once": "--at_once=N", "number": "--number=N"}
        remedy = " or ".join(text for name, text in remedies.items() if name in flags.FLAGS)
        return f"the device is out of memory ({first}){f'; reduce the work at a time with {remedy}' if remedy else ''}"
    return first if text.startswith("Unable to initialize backend") else ""


def _system_message(error: OSError) -> str:
    """Returns a one-line message for an error of the operating system, with the file."""
    where = f"{error.filename}: " if error.filename else ""
    advice = "; free some space and run the same command again" if disk_full_message(error) else ""
    return f"{where}{error.strerror or error}{advice}"


def _exit_with_error(message: str, code: int) -> None:
    """Prints the first line of an error message and exits."""
    first = message.strip().splitlines()
    print(f"error: {first[0] if first else 'unknown'}", file=sys.stderr)
    sys.exit(code)
