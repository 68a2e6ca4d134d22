"""The capture file: written by `record`, read by everything else; its format is docs/format.md."""

from mixstack.capture.reader import Capture, read_capture
from mixstack.capture.writer import CaptureWriter

__all__ = ["Capture", "CaptureWriter", "read_capture"]
