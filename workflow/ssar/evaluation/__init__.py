"""From a trained network to predictions of every test video, and from those to metrics."""
