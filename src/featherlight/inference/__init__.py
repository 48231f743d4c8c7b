"""One way to open a model for prediction: torch, packed, ONNX."""
