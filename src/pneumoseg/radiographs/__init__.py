"""Radiographs: DICOM files to PNGs and a table without identities; and phantoms, in a folder of their own."""
