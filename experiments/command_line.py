"""Command line that all programs share: flags from settings, one-line errors, the platform, and the exit code."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from absl import app, flags, logging

from experiments.config_flags import WRONG_CONFIG, explain_config_error, named_configs
from experiments.large_pages import use_large_pages
from timbre_jax.files import why_full
from timbre_jax.settings import field_types

T = TypeVar("T")

flags.disclaim_key_flags()  # flags defined by functions of this module belong to the program that calls them


def run(
    main: Callable[[Sequence[str]], int | None], documentation: str, *, rest: bool = False, large_pages: bool = False
) -> None:
    """Runs an absl main; wrong input ends with one line on stderr and exit code 1, wrong flags with 2.

    Args:
      main: takes the arguments that are not flags; its integer is the exit code.
      documentation: docstring of the program, for --help.
      rest: whether arguments that are not flags are allowed.
      large_pages: whether the program runs faster with large pages of memory (`large_pages.py`).
    """
    if large_pages:
        use_large_pages()
    sys.modules["__main__"].__doc__ = documentation
    if hasattr(sys.stdout, "reconfigure"):  # file names need not be valid text
        sys.stdout.reconfigure(errors="backslashreplace")

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
            _end("stopped by Ctrl-C", 130)

    app.run(checked, flags_parser=_parse)


def call(function: Callable, **others):
    """Calls a function with the flags that have the names of its parameters.

    Args:
      function: function whose parameters are flags.
      others: values of the parameters that are not flags.

    Raises:
      ValueError: the flag of a parameter without a default was not given; and whatever the function raises.
    """
    parameters = inspect.signature(function).parameters.values()
    given = {p.name: flags.FLAGS[p.name].value for p in parameters if p.name not in others}
    if missing := [p.name for p in parameters if p.default is p.empty and given.get(p.name, True) in (None, "")]:
        raise ValueError(f"give {' and '.join(f'--{name}=...' for name in missing)}; see --help")
    return function(**given, **others)


def define_flags(*kinds: type, **named: type) -> None:
    """Defines one flag for each field of some settings dataclasses (`timbre_jax.settings`).

    A field that several of them share is one flag; if their help texts differ, each text begins with the name of the kind.
    Flags have no default of their own: what is not given on the command line keeps the default of the dataclass, which the help
    text states.

    Args:
      kinds: dataclasses of settings.
      named: more of them by the names that users know, such as the modes of a program.
    """
    labels = {kind: kind.__name__ for kind in kinds} | {kind: name for name, kind in named.items()}
    seen: dict[str, list[tuple[type, dataclasses.Field]]] = {}
    for kind in labels:
        for field in dataclasses.fields(kind):
            seen.setdefault(field.name, []).append((kind, field))
    for name, owners in seen.items():
        texts: dict[str, list[str]] = {}
        for kind, field in owners:
            texts.setdefault(_help(field), []).append(labels[kind])
        lines = [text if len(texts) == 1 else f"{', '.join(names)}: {text}" for text, names in texts.items()]
        kind, field = owners[0]
        limits, wanted = field.metadata, field_types(kind)[name]
        by_type: dict = {bool: flags.DEFINE_bool, tuple: flags.DEFINE_list, list: flags.DEFINE_multi_string}
        define: Callable = by_type.get(wanted, flags.DEFINE_string)
        options: dict = {}
        if limits.get("parse"):
            define = flags.DEFINE_string
        elif wanted in (int, float):
            define = flags.DEFINE_integer if wanted is int else flags.DEFINE_float
            options = {"lower_bound": limits.get("low"), "upper_bound": limits.get("high")}
        elif limits.get("choices"):
            define, options = flags.DEFINE_enum, {"enum_values": limits["choices"]}
        define(name, default=None, help=" ".join(lines), **options)


def _help(field: dataclasses.Field) -> str:
    """The help text of a field with its default."""
    default = field.default
    if default in (dataclasses.MISSING, None, "", ()) or isinstance(default, bool):
        return field.metadata.get("help", "")
    shown = field.metadata.get("shown") or (",".join(map(str, default)) if isinstance(default, tuple) else default)
    return f"{field.metadata.get('help', '')} Default: {shown}."


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


def refuse_flags_of_others(kind: type, kinds: dict[str, type], chosen: str) -> None:
    """Raises a ValueError if a flag was given that only other kinds of settings have.

    Args:
      kind: the kind of settings in use.
      kinds: every kind by name.
      chosen: the flag that chooses among them, such as "source".
    """
    own = {field.name for field in dataclasses.fields(kind)}
    for other in kinds.values():
        for field in dataclasses.fields(other):
            if field.name not in own and flags.FLAGS[field.name].present:
                having = [name for name, k in kinds.items() if field.name in {f.name for f in dataclasses.fields(k)}]
                raise ValueError(f"--{field.name} is for --{chosen}={' or '.join(having)}, not for {flags.FLAGS[chosen].value}")


def define_platform() -> None:
    """Defines --platform."""
    flags.DEFINE_string("platform", None, "cpu, cuda or tpu. Default: the best that JAX finds.")


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
