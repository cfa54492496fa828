"""The --config flag: configurations by name or file, --config.FIELD=VALUE, and one-line errors."""

from __future__ import annotations

import difflib
import os
import re
import runpy
from collections.abc import Sequence

from absl import flags

from experiments import help_groups

CONFIGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "configs")

WRONG_CONFIG = (AttributeError, KeyError, TypeError, ValueError, OSError, ImportError, SyntaxError, NameError)
"""Errors that reading a configuration file and setting its fields may raise."""

flags.disclaim_key_flags()  # flags defined by functions of this module belong to the program that calls them


def define_config() -> None:
    """Defines --config and --config.SECTION.FIELD."""
    from ml_collections import config_flags

    text = (
        "Configuration: a name in experiments/configs, NAME:VARIANT, or a file. --config.SECTION.FIELD=VALUE changes a field; "
        "timbre_jax/training/config.py describes the fields. Required."
    )
    config_flags.DEFINE_config_file("config", None, text)
    help_groups.add("Configuration", "config")


def given_config():
    """Returns the configuration of --config.

    Raises:
      ValueError: it is missing.
    """
    if flags.FLAGS.config is None:
        raise ValueError("give --config=NAME, for instance --config=natsiou2023")
    return flags.FLAGS.config


def read_config(arguments: Sequence[str]):
    """Reads the configuration that --config and --config.FIELD=VALUE among some arguments give.

    Args:
      arguments: arguments of a command, without its name.

    Returns:
      The configuration, a `ConfigDict`.

    Raises:
      ValueError: there is no such configuration or field, or a value is of another type; one line.
    """
    from ml_collections import config_flags

    values, arguments = flags.FlagValues(), named_configs(arguments)
    # The library skips the first argument, which is the name of the program.
    config_flags.DEFINE_config_file("config", None, flag_values=values, sys_argv=["", *arguments])
    try:
        values(["", *arguments], known_only=True)
        config = values["config"].value
        if not hasattr(config, "keys"):
            raise ValueError("--config=NAME is missing")
    except (*WRONG_CONFIG, flags.Error) as error:
        raise ValueError(explain_config_error(arguments) or " ".join(str(error).split())) from None
    return config


def load_config(name: str):
    """Returns the configuration of a name, or NAME:VARIANT; raises the errors of `read_config`."""
    return read_config([f"--config={name}"])


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


def config_names() -> list[str]:
    """Returns the names of the configurations in experiments/configs."""
    return sorted(name[:-3] for name in os.listdir(CONFIGS) if name.endswith(".py") and not name.startswith("_"))


def explain_config_error(arguments: Sequence[str]) -> str | None:
    """Returns what is wrong with --config among some arguments, with the nearest names; None if that is not the problem."""
    config = None
    for argument in arguments:
        if match := re.match(r"--?config=([^:]+)(?::(.+))?", argument):
            if not os.path.isfile(match[1]):
                return _missing_config(match[1])
            try:
                config = runpy.run_path(match[1])["get_config"](*filter(None, [match[2]]))
            except Exception as error:  # whatever a user's file does
                if match[2] and isinstance(error, ValueError):
                    return str(error)
                return f"{match[1]} is no configuration file: {type(error).__name__}: {' '.join(str(error).split())}"
    if config is None:
        if not any(re.match(r"--?config\b", argument) for argument in arguments):
            return None
        return "--config.FIELD=VALUE needs --config=NAME before it"
    fields = (re.match(r"--?config\.([\w.]+)", argument) for argument in arguments)
    return next((message for match in fields if match and (message := _missing_field(config, match[1]))), None)


def _missing_config(path: str) -> str:
    """Returns the error for a configuration that does not exist, with the nearest names."""
    folder, file = os.path.split(path)
    if folder != CONFIGS:
        return f"there is no configuration file {path}"
    known = config_names()
    near = difflib.get_close_matches(file[:-3], known, n=3, cutoff=0.4) or known
    return f"--config={file[:-3]}: no such configuration in experiments/configs; near it: {', '.join(near)}"


def _missing_field(config, field: str) -> str | None:
    """Returns the error for a field that a configuration does not have, with the nearest names; None if it has the field."""
    section, path = config, ["config"]
    for name in field.split("."):
        if not hasattr(section, "keys"):
            return f"{'.'.join(path)} has no fields of its own, so no config.{field}"
        names = list(section.keys())
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or sorted(names)
            return f"there is no field config.{field}; near it: {', '.join('.'.join([*path, n]) for n in near)}"
        section = section[name]
        path.append(name)
    return None
