"""The local stack: a real Redis, a real S3 store and the simulator, run by the command that needs them."""
