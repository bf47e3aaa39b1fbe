"""One file per `model=` choice: deep encoders, and the baselines beside them."""
