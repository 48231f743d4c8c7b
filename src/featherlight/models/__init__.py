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

STUDENTS = {
    BagConfig: BagForSequenceClassification,
    BiLSTMConfig: BiLSTMForSequenceClassification,
    RNNConfig: RNNForSequenceClassification,
}
for config, model in {**STUDENTS, **NARROW_MODELS}.items():
    AutoConfig.register(config.model_type, config)
    AutoModelForSequenceClassification.register(config, model)
for config in STUDENTS:
    AutoTokenizer.register(config, slow_tokenizer_class=HashTokenizer)
