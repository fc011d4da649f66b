"""Small indexes over a few documents, built by LlamaIndex with whatever embedding is given."""

from __future__ import annotations

from typing import Any

from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.schema import TextNode

DOCUMENTS = {
    "refund": "refunds are paid to the card that was charged",
    "invoice": "every invoice is sent by mail on the first of the month",
    "failed": "cards that are refused can be tried again after an hour",
    "change": "a card is replaced on the payment page",
    "query": "as a query, how do I get my money back",
}
QUESTION = "how do I get my money back"


def nodes() -> list[TextNode]:
    """The documents as nodes whose metadata is partly embedded with them."""
    return [
        TextNode(
            id_=f"00000000-0000-0000-0000-{number:012d}",  # Qdrant takes UUIDs only
            text=text,
            metadata={"title": name, "row": number},
            excluded_embed_metadata_keys=["row"],
        )
        for number, (name, text) in enumerate(DOCUMENTS.items())
    ]


def build(embedding: Any, **kwargs: Any) -> VectorStoreIndex:
    """An index over the documents, in memory."""
    return VectorStoreIndex(nodes(), embed_model=embedding, **kwargs)


def build_in(store: Any, embedding: Any) -> VectorStoreIndex:
    """An index over the documents in a vector store."""
    return build(embedding, storage_context=StorageContext.from_defaults(vector_store=store))


def hits(index: VectorStoreIndex, **kwargs: Any) -> list[str]:
    """The ids of what answers the question, best first."""
    found = index.as_retriever(similarity_top_k=3, **kwargs).retrieve(QUESTION)
    return [one.node.node_id for one in found]
