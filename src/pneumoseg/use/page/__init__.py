"""The reading page: radiographs dropped into a browser, on this machine, in memory only."""
