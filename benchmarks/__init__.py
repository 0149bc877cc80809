"""Tables of speed and memory (make bench); nothing here asserts, and no test depends on the clock."""
