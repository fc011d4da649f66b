"""What the field's tools write to disk, recognised by content. One module per family."""

from pairlock.layouts.adapters import AdapterLayout, PeftLayout, adapter_facts
from pairlock.layouts.listing import Listing, listing_of
from pairlock.layouts.recognise import Layout, recognise
from pairlock.layouts.sentence_transformers import (
    SentenceTransformersLayout,
    read_sentence_transformers,
)

__all__ = [
    "AdapterLayout",
    "Layout",
    "Listing",
    "PeftLayout",
    "SentenceTransformersLayout",
    "adapter_facts",
    "listing_of",
    "read_sentence_transformers",
    "recognise",
]
