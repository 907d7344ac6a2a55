"""Multi-task CTR/CVR recommenders: features, models, objectives, task weightings and exact metrics."""

from nextrec_like.data.columns import IdColumn, NumericColumn, SequenceColumn
from nextrec_like.data.processor import DataProcessor
from nextrec_like.data.splits import split_by_group, split_by_time, split_random
from nextrec_like.data.synthetic import synthetic_funnel
from nextrec_like.data.tables import read_table
from nextrec_like.errors import InputError, InputWarning
from nextrec_like.features import DenseFeature, SequenceFeature, SparseFeature
from nextrec_like.loading import load_model
from nextrec_like.models import ESMM, MODELS, PLE, MMoE, Model, SharedBottom, SingleTask
from nextrec_like.tasks import Task
from nextrec_like.training.callbacks import Callback
from nextrec_like.training.history import History

__version__ = "0.1.0"

__all__ = [
    "ESMM",
    "MODELS",
    "PLE",
    "Callback",
    "DataProcessor",
    "DenseFeature",
    "History",
    "IdColumn",
    "InputError",
    "InputWarning",
    "MMoE",
    "Model",
    "NumericColumn",
    "SequenceColumn",
    "SequenceFeature",
    "SharedBottom",
    "SingleTask",
    "SparseFeature",
    "Task",
    "load_model",
    "read_table",
    "split_by_group",
    "split_by_time",
    "split_random",
    "synthetic_funnel",
]
