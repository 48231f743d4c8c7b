"""Hugging Face models and tokenizers; nothing that trains.

Importing this package makes the students known to `AutoModelForSequenceClassification` and `AutoTokenizer`.
"""

from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from featherlight.models.narrow import NARROW_MODELS
from featherlight.models.students.bag import BagConfig, BagForSequenceClassification
from featherlight.models.students.recurrent import (
    BiLSTMConfig,
    BiLSTMForSequenceClassification,
    RNNConfig,
    RNNForSequenceClassification,
)
from featherlight.models.students.tokenizers import HashTokenizer

__all__ = [
    "BagConfig",
    "BagForSequenceClassification",
    "BiLSTMConfig",
    "BiLSTMForSequenceClassification",
    "HashTokenizer",
    "RNNConfig",
    "RNNForSequenceClassification",
]

STUDENTS = {
    BagConfig: BagForSequenceClassification,
    BiLSTMConfig: BiLSTMForSequenceClassification,
    RNNConfig: RNNForSequenceClassification,
}
for config, model in STUDENTS.items():
    AutoConfig.register(config.model_type, config)
    AutoModelForSequenceClassification.register(config, model)
    AutoTokenizer.register(config, slow_tokenizer_class=HashTokenizer)
for narrow_config, narrow_model in NARROW_MODELS.items():
    AutoConfig.register(narrow_config.model_type, narrow_config)
    AutoModelForSequenceClassification.register(narrow_config, narrow_model)
