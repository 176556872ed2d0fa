"""Tables, figures and ablation summaries, made from the files that the runs left."""
