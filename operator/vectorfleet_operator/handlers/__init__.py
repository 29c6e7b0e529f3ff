"""What wakes the operator, and the loop that reconciles."""
