from typing_extensions import Buffer

from fastzk.storage.segments import Scan

def take_records(found: Scan, segment: int, chunk: Buffer, chunk_offset: int, batch_end: int) -> int: ...
