"""Networks: families of them, and what all have in common."""
