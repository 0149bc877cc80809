"""A trained model in use: its folder, the reader of one radiograph, and what it says."""
