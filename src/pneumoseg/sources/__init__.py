"""Who is in a data set and what is known of each image: one module a published layout, in formats."""
