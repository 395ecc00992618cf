"""Read and write MXNet's RecordIO without MXNet."""

from aird_plugin.data.recordio.format import Record
from aird_plugin.data.recordio.reader import RecordReader
from aird_plugin.data.recordio.writer import RecordWriter

__all__ = ["Record", "RecordReader", "RecordWriter"]
