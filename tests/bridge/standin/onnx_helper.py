import os

import onnxruntime


class ArcFaceORT:
    def __init__(self, model_path, cpu=False):
        self.model_path = model_path

    def check(self, track="cfat", test_img=None):
        last = max(name for name in os.listdir(self.model_path) if name.endswith(".onnx"))
        session = onnxruntime.InferenceSession(os.path.join(self.model_path, last), providers=["CPUExecutionProvider"])
        input_node, outputs = session.get_inputs()[0], session.get_outputs()
        if tuple(input_node.shape[2:]) != (112, 112):
            return f"input-size is inconsistent with onnx model input, {input_node.shape}"
        self.session, self.input_name, self.output_names = session, input_node.name, [output.name for output in outputs]
        self.input_mean = self.input_std = 127.5
        self.feat_dim = outputs[0].shape[1]
        return "max time cost exceed, given 99"
