"""The capture file: written by `record`, read by everything else; its format is docs/format.md."""
