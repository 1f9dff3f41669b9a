"""Public data of real models and people, replayed through the pipeline as it is, beside a direct computation."""
