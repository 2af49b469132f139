"""The losses between the target and the model's word distribution, a module each, which bears the name of its loss."""
