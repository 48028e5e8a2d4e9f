"""Other tools that read logs of training, beside ours."""
