"""Export of students as ONNX files for InsightFace. Each file is verified against the student before it is published."""
