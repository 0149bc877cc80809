"""Files of radiographs (DICOM, PNG, JPEG), read: grey levels dark to bright, and their header, without names."""
