"""What differs from one SLURM cluster to the next, what a job asks for, and whether a cluster is fit. No torch."""
