"""One module for each layout of data.root and data.annotations; it registers a source.Source under data.format."""
