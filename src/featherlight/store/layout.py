"""What files and folders of a store are called."""

import re

ADDRESS = re.compile(r"[a-z]+-[0-9a-f]{12}")
DRAFT, DOOMED, LOCKS, RECORD = ".draft-", ".doomed-", ".locks", "record.json"
PREDICTIONS = "predictions.safetensors"  # logits and labels of the splits that a record has scores of
