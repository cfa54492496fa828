"""What every command of experiments/ shares: a configuration flag with one-line errors, and the end of the process."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import inspect
import os
import re
import runpy
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from absl import app, flags, logging

from timbre_jax.settings import field_types

T = TypeVar("T")
flags.disclaim_key_flags()  # flags that are defined here belong to the program, whose --help lists them

CONFIGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "configs")

_WRONG = (AttributeError, KeyError, TypeError, ValueError, OSError, ImportError, SyntaxError, NameError)
"""What reading a configuration file and its fields may raise."""


def run(main: Callable[[Sequence[str]], int | None], documentation: str, *, rest: bool = False) -> None:
    """Runs an absl main; wrong input ends with one line on stderr and exit code 1, wrong flags with 2.

    Args:
      main: takes what is left of the command line; its int is the exit code.
      documentation: shown by --help: the command's docstring.
      rest: whether there may be anything left, which `main` then looks at.
    """
    sys.modules["__main__"].__doc__ = documentation
    if hasattr(sys.stdout, "reconfigure"):  # a name of a file may be no text, and no reason to end
        sys.stdout.reconfigure(errors="backslashreplace")

    def checked(arguments: Sequence[str]) -> int | None:
        if len(arguments) > 1 and not rest:
            _end(f"there is no argument {arguments[1]!r}; options begin with --, see --help", 2)
        if not flags.FLAGS["verbosity"].present:
            # What libraries note for their own developers is no news for a user.
            logging.set_verbosity(logging.WARNING)
        try:
            return main(arguments)
        except (ValueError, OSError, RuntimeError) as error:
            message = _of_device(str(error)) if isinstance(error, RuntimeError) else str(error)
            if os.environ.get("TIMBRE_TRACEBACK") or not message:
                raise
            _end(_system(error) if isinstance(error, OSError) else message, 1)
        except KeyboardInterrupt:
            _end("stopped by Ctrl-C", 130)

    app.run(checked, flags_parser=_parse)


def call(function: Callable, **others):
    """The function with the value of the flag of the same name for every parameter that is not among the others.

    Raises:
      ValueError: a parameter without a default whose flag was not given; and whatever the function raises.
    """
    parameters = inspect.signature(function).parameters.values()
    given = {p.name: flags.FLAGS[p.name].value for p in parameters if p.name not in others}
    if missing := [p.name for p in parameters if p.default is p.empty and given.get(p.name, True) in (None, "")]:
        raise ValueError(f"give {' and '.join(f'--{name}=...' for name in missing)}; see --help")
    return function(**given, **others)


def define_flags(*kinds: type) -> None:
    """Defines one flag for each field of some settings dataclasses (`timbre_jax.settings`).

    A field that several of them share is one flag. Flags have no default of their own: what is not given on the command line
    keeps the default of the dataclass, which the help text states.
    """
    flags.disclaim_key_flags()  # --help lists the flags of the program, not of this module
    seen: dict[str, list[tuple[type, dataclasses.Field]]] = {}
    for kind in kinds:
        for field in dataclasses.fields(kind):
            seen.setdefault(field.name, []).append((kind, field))
    for name, owners in seen.items():
        texts: dict[str, list[str]] = {}
        for kind, field in owners:
            texts.setdefault(_help(field), []).append(kind.__name__)
        lines = [text if len(texts) == 1 else f"{', '.join(names)}: {text}" for text, names in texts.items()]
        kind, field = owners[0]
        limits, wanted = field.metadata, field_types(kind)[name]
        define: Callable = {bool: flags.DEFINE_bool, tuple: flags.DEFINE_list}.get(wanted, flags.DEFINE_string)
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


def read_config(arguments: Sequence[str]):
    """The configuration that --config=FILE and --config.FIELD=VALUE among a command's arguments give.

    Raises:
      ValueError: what `run` would end with, in one line.
    """
    from ml_collections import config_flags

    values, arguments = flags.FlagValues(), named_configs(arguments)
    # The first is the program's name, which the library leaves out of what it reads.
    config_flags.DEFINE_config_file("config", None, flag_values=values, sys_argv=["", *arguments])
    try:
        values(["", *arguments], known_only=True)
        config = values["config"].value
        if not hasattr(config, "keys"):
            raise ValueError("--config=FILE is missing")
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        OSError,
        ImportError,
        SyntaxError,
        NameError,
        flags.Error,
    ) as error:
        raise ValueError(_field(arguments) or " ".join(str(error).split())) from None
    return config


def use_platform(name: str | None) -> None:
    """Computes on "cpu", "cuda" or "tpu"; None: what JAX finds best. Before anything is asked of JAX's devices.

    The environment alone would come too late: whatever reads a configuration has imported JAX.

    Raises:
      ValueError: CUDA without JAX's plugin for it, which JAX itself says in no words.
    """
    if name == "cuda" and not any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in range(11, 20)):
        raise ValueError('--platform=cuda: this JAX knows no GPU; pip install "jax[cuda12]", or cuda13, as the driver has it')
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
    arguments = named_configs([_home(argument) for argument in arguments])
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
    except _WRONG as error:
        if os.environ.get("TIMBRE_TRACEBACK"):
            raise
        _end(_field(arguments) or " ".join(str(error).split()), 2)


def named_configs(arguments: Sequence[str]) -> list[str]:
    """Returns arguments with --config=NAME[:VARIANT] replaced by --config=.../experiments/configs/NAME.py[:VARIANT].

    A path (anything with a slash or with .py) and every other argument are returned unchanged.
    """
    found, previous = [], ""
    for argument in arguments:
        match = re.fullmatch(r"(--?config=)?([\w-]+)((?::.*)?)", argument)
        if match and (match[1] or previous in ("--config", "-config")):
            argument = f"{match[1] or ''}{os.path.join(CONFIGS, match[2] + '.py')}{match[3]}"
        found.append(argument)
        previous = argument
    return found


def _home(argument: str) -> str:
    """--out=~/notes as a shell would have it: it knows ~ only at the beginning of a word."""
    name, equals, value = argument.partition("=")
    if not (equals and name.startswith("-")):
        return argument
    return f"{name}={','.join(os.path.expanduser(part) for part in value.split(','))}"


def _field(arguments: Sequence[str]) -> str | None:
    """What is wrong with the configuration: no file, or which --config.FIELD does not exist and the nearest that do."""
    holder = None
    for argument in arguments:
        if match := re.match(r"--?config=([^:]+)", argument):
            if not os.path.isfile(match[1]):
                return _no_config(match[1])
            try:
                holder = runpy.run_path(match[1])["get_config"]()
            except Exception as error:  # whatever a user's file does
                return f"{match[1]} is no configuration file: {type(error).__name__}: {' '.join(str(error).split())}"
    if holder is None:
        if not any(re.match(r"--?config\b", argument) for argument in arguments):
            return None
        return "--config.FIELD=VALUE needs --config=FILE before it"
    for argument in arguments:
        match = re.match(r"--?config\.([\w.]+)", argument)
        if not match:
            continue
        section, path = holder, []
        for name in match[1].split("."):
            if not hasattr(section, "keys"):
                return f"config.{'.'.join(path)} has no fields of its own, so no config.{match[1]}"
            names = list(section.keys())
            if name not in names:
                near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or sorted(names)
                there = ", ".join(".".join(["config", *path, n]) for n in near)
                return f"there is no field config.{match[1]}; near it: {there}"
            section = section[name]
            path.append(name)
    return None


def _no_config(path: str) -> str:
    """Returns the error for a configuration that does not exist, with the nearest names."""
    folder, file = os.path.split(path)
    if folder != CONFIGS:
        return f"there is no configuration file {path}"
    known = sorted(name[:-3] for name in os.listdir(CONFIGS) if name.endswith(".py") and not name.startswith("_"))
    near = difflib.get_close_matches(file[:-3], known, n=3, cutoff=0.4) or known
    return f"--config={file[:-3]}: no such configuration in experiments/configs; near it: {', '.join(near)}"


def _of_device(text: str) -> str:
    """What an error of JAX's runtime means, where a user can mend it; "" for others."""
    first = " ".join(text.split())[:160]
    if "RESOURCE_EXHAUSTED" in text:
        ways = {"config": "--config.train.accumulate=N", "at_once": "--at_once=N", "number": "--number=N"}
        less = " or ".join(way for name, way in ways.items() if name in flags.FLAGS)
        return f"the device's memory is full ({first}){f'; less at once: {less}' if less else ''}"
    return first if text.startswith("Unable to initialize backend") else ""


def _system(error: OSError) -> str:
    from timbre_jax.files import why_full

    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}" + ("; free some space and run the same command again" if why_full(error) else "")


def _end(message: str, code: int) -> None:
    first = message.strip().splitlines()
    print(f"error: {first[0] if first else 'unknown'}", file=sys.stderr)
    sys.exit(code)
