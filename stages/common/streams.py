"""Names of streams: `encoder/scale` (`muq/track`), with several layers `encoder/scale@layer` (`muq/track@10`).

Streams of imported embeddings may have any name.
"""

import re


def with_layer(stream: str, layer: int) -> str:
    """`muq/track@10` for `muq/track` and 10."""
    return f"{stream}@{layer}"


def without_layer(stream: str) -> str:
    """`muq/track` for `muq/track@10`."""
    return stream.split("@")[0]


def stream_parts(stream: str) -> list[str]:
    """Encoder, scale and, where the name has it, layer."""
    return re.split("[/@]", stream)
