"""What a configuration may hold, and of which type."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PrivateAttr, Tag, field_validator, model_validator

from nextrec_like.config.comparison import ComparisonSection
from nextrec_like.config.document import ConfigError, Document
from nextrec_like.config.section import Files, NamedModel, OneOrMore, Section, entries_of, section_of
from nextrec_like.data.columns import IdColumn, NumericColumn, SequenceColumn
from nextrec_like.data.splits import split_random
from nextrec_like.data.synthetic import synthetic_funnel
from nextrec_like.errors import DivergedError, InputError, LostProcessError
from nextrec_like.features import DenseFeature, SequenceFeature, SparseFeature
from nextrec_like.tasks import Task
from nextrec_like.training.checkpoint import CheckpointParams
from nextrec_like.training.estimator import Estimator
from nextrec_like.training.reading import Reading

COMPILE = {name: parameter.default for name, parameter in signature(Estimator.compile).parameters.items()}
FIT = {name: parameter.default for name, parameter in signature(Estimator.fit).parameters.items()}
FUNNEL = signature(synthetic_funnel).parameters
SPLIT = signature(split_random).parameters


class SyntheticFunnel(Section):
    """Arguments of `synthetic_funnel`."""

    rows: int = Field(default=FUNNEL["num_rows"].default, ge=1)
    seed: int = Field(default=FUNNEL["seed"].default, ge=0)


class Split(Section):
    """How one table becomes training, validation and test rows."""

    by: Literal["random", "time", "group"] = "random"
    column: str | None = None
    fractions: list[float] = Field(default=list(SPLIT["fractions"].default), min_length=2, max_length=3)
    seed: int = Field(default=SPLIT["seed"].default, ge=0)

    @model_validator(mode="after")
    def _check_values(self) -> "Split":
        if self.by != "random" and self.column is None:
            raise InputError(f"`split` by {self.by} needs the `column` with the {self.by} of each row.")
        if self.by == "random" and self.column is not None:
            raise InputError("`column` has no use in a random `split`; set `by` to time or group, or remove it.")
        if min(self.fractions) <= 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise InputError(f"`fractions` should be positive numbers with sum 1. Received {self.fractions}.")
        return self


class DataSection(Section):
    """Where the rows come from: the built-in funnel, one table, or one table per part."""

    synthetic_funnel: SyntheticFunnel | None = None
    path: Files | None = None
    train: Files | None = None
    valid: Files | None = None
    test: Files | None = None
    split: Split | None = None
    streaming: bool | Literal["auto"] = FIT["streaming"]
    cache_dir: str | None = FIT["cache_dir"]
    checks: bool = FIT["check_data"]

    @model_validator(mode="after")
    def _check_sources(self) -> "DataSection":
        sources = [name for name in ("synthetic_funnel", "path", "train") if getattr(self, name) is not None]
        if len(sources) != 1:
            found = " and ".join(f"`{name}`" for name in sources) or "none"
            raise InputError(f"`data` needs exactly one of `synthetic_funnel`, `path` and `train`, and has {found}.")
        parts = ("train", "valid", "test")[: len(self.split.fractions)] if self.split else ()
        for name in ("valid", "test"):
            if getattr(self, name) is not None and (name in parts or sources != ["train"]):
                why = "comes from `split` already" if name in parts else f"goes with `train`, not with `{sources[0]}`"
                raise InputError(f"`{name}` of `data` {why}; remove one of the two.")
        return self

    @model_validator(mode="after")
    def _check_streaming(self) -> "DataSection":
        Reading(self.streaming, self.cache_dir)
        wanted = "streaming" if self.streaming is True else None if self.cache_dir is None else "cache_dir"
        made = next((name for name in ("split", "synthetic_funnel") if getattr(self, name) is not None), None)
        if wanted and made:
            raise InputError(
                f"`{wanted}` of `data` is for rows in parquet files, and those of `{made}` are made in memory; write "
                f"the parts to parquet files once, and give these as `train`, `valid` and `test`."
            )
        return self


class RawFeatures(Section):
    """Columns of a raw table, encoded by a processor."""

    dense: entries_of(NumericColumn) = []  # type: ignore[valid-type]
    sparse: entries_of(IdColumn) = []  # type: ignore[valid-type]
    sequence: entries_of(SequenceColumn) = []  # type: ignore[valid-type]
    encoded: Literal[False] = False


class EncodedFeatures(Section):
    """Columns that hold numbers and ids already."""

    dense: entries_of(DenseFeature) = []  # type: ignore[valid-type]
    sparse: entries_of(SparseFeature) = []  # type: ignore[valid-type]
    sequence: entries_of(SequenceFeature) = []  # type: ignore[valid-type]
    encoded: Literal[True]


def _features_tag(data: object) -> str:
    encoded = data.get("encoded") if isinstance(data, Mapping) else getattr(data, "encoded", False)
    return "EncodedFeatures" if encoded is True else "RawFeatures"


Features = Annotated[
    Annotated[RawFeatures, Tag("RawFeatures")] | Annotated[EncodedFeatures, Tag("EncodedFeatures")],
    Discriminator(_features_tag),
]


class Training(Section):
    """Arguments of `compile` and `fit`."""

    optimizer: str = COMPILE["optimizer"]
    optimizer_params: dict[str, Any] | None = COMPILE["optimizer_params"]
    embedding_optimizer: str = COMPILE["embedding_optimizer"]
    embedding_optimizer_params: dict[str, Any] | None = COMPILE["embedding_optimizer_params"]
    loss: str | list[Any] | dict[str, Any] | None = COMPILE["loss"]
    scheduler: str | None = COMPILE["scheduler"]
    scheduler_params: dict[str, Any] | None = COMPILE["scheduler_params"]
    scheduler_interval: str = COMPILE["scheduler_interval"]
    warmup_steps: int = Field(default=COMPILE["warmup_steps"], ge=0)
    clip_norm: float | None = Field(default=COMPILE["clip_norm"], gt=0)
    precision: str = COMPILE["precision"]
    accumulate_steps: int = Field(default=COMPILE["accumulate_steps"], ge=1)
    jit: bool = COMPILE["jit"]
    sharding: str | None = COMPILE["sharding"]
    epochs: int = Field(default=FIT["epochs"], ge=1)
    batch_size: int = Field(default=FIT["batch_size"], ge=1)
    shuffle: bool = FIT["shuffle"]
    metrics: Annotated[list[str], OneOrMore, Field(min_length=1)] = list(FIT["metrics"])
    group_id: str | None = FIT["group_id"]
    monitor: str | dict[str, Any] | None = FIT["monitor"]
    patience: int | None = Field(default=FIT["patience"], ge=1)
    min_delta: float = Field(default=FIT["min_delta"], ge=0)
    restore_best: bool = FIT["restore_best"]
    device: str = FIT["device"]
    device_data: bool | Literal["auto"] = FIT["device_data"]
    log_every: int = Field(default=FIT["log_every"], ge=1)
    diagnose: bool = FIT["diagnose"]
    max_skipped_steps: int = Field(default=FIT["max_skipped_steps"], ge=1)
    seed: int | None = Field(default=None, ge=0, exclude=True)
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], OneOrMore, Field(min_length=1)] = [FIT["seed"]]

    @model_validator(mode="after")
    def _check_seeds(self) -> "Training":
        if self.seed is not None and "seeds" in self.model_fields_set:
            raise InputError("`training` has both `seed` and `seeds`; give one of them.")
        if len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"`seeds` should differ from each other. Received {self.seeds}.")
        return self

    @property
    def all_seeds(self) -> list[int]:
        """One training each."""
        return self.seeds if self.seed is None else [self.seed]


class Checkpoints(section_of(CheckpointParams)):  # type: ignore[misc]
    """When to save a training, besides the end of each epoch."""

    @model_validator(mode="after")
    def _check_values(self) -> "Checkpoints":
        CheckpointParams.of(self.model_dump())
        return self


class Config(Section):
    """A whole configuration: read by `load_config`, or made from keyword arguments."""

    name: str
    data: DataSection
    features: Features
    tasks: Annotated[entries_of(Task), Field(min_length=1)]  # type: ignore[valid-type]
    model: NamedModel
    objective: str | None = COMPILE["objective"]
    weighting: Any = COMPILE["loss_weights"]
    training: Training = Training()
    comparison: ComparisonSection = Field(default=ComparisonSection(), exclude=True)
    output: str = "runs"
    checkpoints: Checkpoints | Literal[False] = Checkpoints(every_seconds=300)
    _document: Document = PrivateAttr(Document({}, {(): "configuration"}))

    def model_post_init(self, context: Any) -> None:  # noqa: ANN401
        """Keeps the document, for the places in errors."""
        if context is not None:
            self._document = context

    def place(self, *path: str) -> str:
        """Where a value was written, as ``file:line:column`` or ``--set key=value``."""
        return self._document.place(path)

    def with_section(self, name: str, value: Any, source: tuple[str | int, ...]) -> "Config":  # noqa: ANN401
        """The configuration with another section, whose mistakes are where that was written.

        Args:
            name: Of the section.
            value: Its content, checked.
            source: Path to it in the document; one that is not there has no places of its own.
        """
        changed = self.model_copy(update={name: value})
        if source and self._document.existing(source) == source:
            changed._document = self._document.grafted(source, (name,))
        return changed

    @contextmanager
    def blame(self, *sections: str) -> Iterator[None]:
        """Adds the place in the configuration to an `InputError`: the key in these sections that it is about."""
        try:
            yield
        except (ConfigError, DivergedError, LostProcessError):
            raise
        except InputError as error:
            message = str(error).replace("`loss_weights`", "`weighting`")  # the argument of `compile`, here a section
            raise ConfigError(f"{self._document.closest(message, sections)}: {message}") from error

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not name or name.startswith(".") or set(name) & set("/\\"):
            raise InputError(f"`name` should be usable as the name of a folder. Received {name!r}.")
        return name
