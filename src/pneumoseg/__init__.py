"""pneumoseg: pneumothorax segmentation on chest radiographs, from DICOM to an honest test Dice."""

__version__ = "0.1.0"
