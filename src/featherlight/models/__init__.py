"""Hugging Face models and tokenizers; nothing that trains.

Importing this package makes the students known to `AutoModelForSequenceClassification` and `AutoTokenizer`.
"""

from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from featherlight.models.bag import BagConfig, BagForSequenceClassification
from featherlight.models.recurrent import (
    BiLSTMConfig,
    BiLSTMForSequenceClassification,
    RNNConfig,
    RNNForSequenceClassification,
)
from featherlight.models.tokenizers import HashTokenizer

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
