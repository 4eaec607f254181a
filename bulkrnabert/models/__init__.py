"""Networks: tensors in, tensors out; no knowledge of files of expression or of training."""
