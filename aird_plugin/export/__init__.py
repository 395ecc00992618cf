"""Students out: ONNX files that InsightFace loads, each run back and compared before anyone gets it."""
