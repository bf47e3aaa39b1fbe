"""What is held about a customer: found, shown, erased, and looked for once more."""
