"""Loss functions: tensors -> scalar. One method per file; the files import torch and each other only."""
