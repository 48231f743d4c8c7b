"""Hugging Face models and tokenizers; nothing that trains.

Importing this package makes the students known to `AutoModelForSequenceClassification`.
"""

from transformers import AutoConfig, AutoModelForSequenceClassification

from featherlight.models.bag import BagConfig, BagForSequenceClassification
from featherlight.models.recurrent import BiLSTMConfig, BiLSTMForSequenceClassification

__all__ = ["BagConfig", "BagForSequenceClassification", "BiLSTMConfig", "BiLSTMForSequenceClassification"]

AutoConfig.register(BagConfig.model_type, BagConfig)
AutoConfig.register(BiLSTMConfig.model_type, BiLSTMConfig)
AutoModelForSequenceClassification.register(BagConfig, BagForSequenceClassification)
AutoModelForSequenceClassification.register(BiLSTMConfig, BiLSTMForSequenceClassification)
