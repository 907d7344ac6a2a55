"""Configurations: a YAML file as checked, typed sections, and the objects that they describe."""

from nextrec_like.config.build import (
    build_columns,
    build_features,
    build_model,
    build_tasks,
    checkpoint_arguments,
    fit_arguments,
    rehearse,
    resolve,
)
from nextrec_like.config.data import fit_processor, open_data, read_data
from nextrec_like.config.document import ConfigError, dump
from nextrec_like.config.load import load_config
from nextrec_like.config.schema import Config

__all__ = [
    "Config",
    "ConfigError",
    "build_columns",
    "build_features",
    "build_model",
    "build_tasks",
    "checkpoint_arguments",
    "dump",
    "fit_arguments",
    "fit_processor",
    "load_config",
    "open_data",
    "read_data",
    "rehearse",
    "resolve",
]
