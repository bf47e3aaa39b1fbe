"""From a configuration to a trained, evaluated and tracked model."""
