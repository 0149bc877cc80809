"""Exploration: tables and figures of the data set; nothing here shows a radiograph."""
