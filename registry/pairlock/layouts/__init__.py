"""What the field's tools write to disk, recognised by content. One module per family."""

from pairlock.layouts.listing import Listing, listing_of
from pairlock.layouts.llama_index import (
    AdapterFolder,
    AdapterLayout,
    adapter_facts,
    read_adapter_folder,
)
from pairlock.layouts.modules import ModuleFolder, check_tokenizer
from pairlock.layouts.peft import PeftLayout, read_peft_config, read_peft_modules
from pairlock.layouts.recognise import Layout, recognise
from pairlock.layouts.sentence_transformers import (
    SentenceTransformersLayout,
    read_sentence_transformers,
)

__all__ = [
    "AdapterFolder",
    "AdapterLayout",
    "Layout",
    "Listing",
    "ModuleFolder",
    "PeftLayout",
    "SentenceTransformersLayout",
    "adapter_facts",
    "check_tokenizer",
    "listing_of",
    "read_adapter_folder",
    "read_peft_config",
    "read_peft_modules",
    "read_sentence_transformers",
    "recognise",
]
