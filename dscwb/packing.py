"""Data as a line of text that any page can hold, and the JavaScript that unpacks it there."""

from __future__ import annotations

import base64
import gzip

UNPACKED = """\
const unpacked = (text) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(plain).arrayBuffer();
};
const unpackedText = async (text) => new TextDecoder().decode(await unpacked(text));
"""
"""What a page's script needs to read what `packed` wrote."""


def packed(data: bytes, level: int = 6) -> str:
    """Compress, and write with letters, digits and ``+/=`` only."""
    return base64.b64encode(gzip.compress(data, level, mtime=0)).decode()
