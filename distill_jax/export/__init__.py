"""Models for programs that have no JAX: ONNX, and StableHLO."""
