"""Out of Python: packed files, ONNX."""
