"""Configurations on the command line: --config=NAME or FILE, and --config.FIELD=VALUE."""

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
"""Errors that reading a configuration file or setting its fields can raise."""

flags.disclaim_key_flags()  # the flags that this module defines belong to the program that calls it


def define_config() -> None:
    """Defines --config and --config.SECTION.FIELD."""
    from ml_collections import config_flags

    text = (
        "Name of a configuration in experiments/configs, NAME:VARIANT, or a file. --config.SECTION.FIELD=VALUE changes a "
        "field; timbre_jax/training/config.py describes the fields. Required."
    )
    config_flags.DEFINE_config_file("config", None, text)
    help_groups.add("Configuration", "config")


def flag_config():
    """Returns the configuration of --config, a `ConfigDict`.

    Raises:
      ValueError: if --config was not given.
    """
    if flags.FLAGS.config is None:
        raise ValueError("--config: missing; give --config=NAME, such as --config=natsiou2023")
    return flags.FLAGS.config


def read_config(arguments: Sequence[str]):
    """Reads the configuration from --config and --config.FIELD=VALUE in arguments.

    Args:
      arguments: arguments of a command, without its name.

    Returns:
      The configuration, a `ConfigDict`.

    Raises:
      ValueError: if the configuration or a field does not exist, or a value has the wrong type; the message is one line.
    """
    from ml_collections import config_flags

    values, arguments = flags.FlagValues(), named_configs(arguments)
    # The library skips the first argument, which is the name of the program.
    config_flags.DEFINE_config_file("config", None, flag_values=values, sys_argv=["", *arguments])
    try:
        values(["", *arguments], known_only=True)
        config = values["config"].value
        if not hasattr(config, "keys"):
            raise ValueError("--config: missing; give --config=NAME, such as --config=natsiou2023")
    except (*WRONG_CONFIG, flags.Error) as error:
        raise ValueError(explain_config_error(arguments) or " ".join(str(error).split())) from None
    return config


def load_config(name: str):
    """Returns the configuration NAME or NAME:VARIANT; raises the errors of `read_config`."""
    return read_config([f"--config={name}"])


def named_configs(arguments: Sequence[str]) -> list[str]:
    """Replaces the name of a configuration in arguments by the path of its file.

    --config=NAME[:VARIANT] becomes --config=.../experiments/configs/NAME.py[:VARIANT]. Paths and other arguments stay.
    """
    replaced, previous = [], ""
    for argument in arguments:
        match = re.fullmatch(r"(--?config=)?([\w-]+)((?::.*)?)", argument)
        if match and (match[1] or previous in ("--config", "-config")):
            argument = f"{match[1] or ''}{os.path.join(CONFIGS, match[2] + '.py')}{match[3]}"
        replaced.append(argument)
        previous = argument
    return replaced


def config_names() -> list[str]:
    """Returns the names of the configurations in experiments/configs."""
    return sorted(name[:-3] for name in os.listdir(CONFIGS) if name.endswith(".py") and not name.startswith("_"))


def explain_config_error(arguments: Sequence[str]) -> str | None:
    """Returns a message for the error in --config or --config.FIELD, or None."""
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
                return f"{match[1]}: not a configuration file ({type(error).__name__}: {' '.join(str(error).split())})"
    if config is None:
        if not any(re.match(r"--?config\b", argument) for argument in arguments):
            return None
        return "--config.FIELD=VALUE: needs a configuration; give --config=NAME before it"
    fields = (re.match(r"--?config\.([\w.]+)", argument) for argument in arguments)
    return next((message for match in fields if match and (message := _missing_field(config, match[1]))), None)


def _missing_config(path: str) -> str:
    """Returns a message, with similar names, for a configuration that does not exist."""
    folder, file = os.path.split(path)
    if folder != CONFIGS:
        return f"--config={path}: no such file; give a name in experiments/configs, or a file"
    known = config_names()
    similar = difflib.get_close_matches(file[:-3], known, n=3, cutoff=0.4) or known
    return f"--config={file[:-3]}: no such configuration in experiments/configs; similar: {', '.join(similar)}"


def _missing_field(config, field: str) -> str | None:
    """Returns a message, with similar names, for a field that does not exist; else None."""
    section, path = config, ["config"]
    for name in field.split("."):
        if not hasattr(section, "keys"):
            return f"--config.{field}: no such field; {'.'.join(path)} has no fields of its own"
        names = list(section.keys())
        if name not in names:
            similar = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or sorted(names)
            return f"--config.{field}: no such field; similar: {', '.join('.'.join([*path, n]) for n in similar)}"
        section = section[name]
        path.append(name)
    return None
