"""What trained a model: taken apart, described, and linked to the model in MLflow."""
