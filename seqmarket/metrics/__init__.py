"""What a prediction is worth: ranking, classification, calibration, and their intervals."""
