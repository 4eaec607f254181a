"""What a pretrained encoder is used for: embedding, probing, survival."""
