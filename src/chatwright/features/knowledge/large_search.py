"""SQL of a search in a large knowledge base: both halves in one round trip, with work that does not grow with the base.

Vectors come from the base's own HNSW index (`indexes.py`), words from the chunks that hold the question's rarest terms.
Without the index the statement is right all the same, and slow. Called by `search.py`.
"""

from chatwright.domain.ids import KnowledgeBaseId, is_id

LARGE_FROM = 5_000
"""Chunks from which a base is searched by its indexes. Below it an exact scan is as fast, and misses nothing."""
WORDED_CANDIDATES = 3_000
"""Chunks that are scored by their words: as many of the question's terms are looked up, rarest first, as have together
no more. Each costs a random read of its row."""
COMMON = 0.1
"""A term in more than this share of the chunks says nothing that is worth a look-up."""
SAMPLE = 200
"""Chunks whose cosines tell what is usual in the base."""

ASKED = """
    asked AS (
        -- The question's terms with how rare they are in the base: BM25's inverse document frequency.
        SELECT a.place, a.dimension, a.key, a.weight, t.documents, b.chunk_count,
               ln(1 + (greatest(b.chunk_count - coalesce(t.documents, 0), 0) + 0.5)
                      / (coalesce(t.documents, 0) + 0.5)) AS rarity
          FROM knowledge_bases b
         CROSS JOIN unnest($4::integer[], $5::integer[], $6::real[]) WITH ORDINALITY AS a (dimension, key, weight, place)
          LEFT JOIN knowledge_terms t ON t.tenant_id = $1 AND t.knowledge_base_id = $2 AND t.term_key = a.key
         WHERE b.tenant_id = $1 AND b.id = $2)"""

RETRIEVE_LARGE = f"""
-- The base's id stands in the text: only then does the planner know that the base's own index will do. $3 the question's
-- vector or NULL, $7 how many of each half, $8 and $9 as WORDED_CANDIDATES and COMMON, $10 the embedder that made the
-- vector or NULL: nothing is found if the base has another one by now.
WITH{ASKED},
    question AS MATERIALIZED (
        SELECT (chr(123) || coalesce((SELECT string_agg(dimension || ':' || weighed, ',' ORDER BY dimension)
                                        FROM (SELECT dimension, sum(weight * rarity)::real AS weighed FROM asked
                                               GROUP BY dimension) AS one_each), '')
                || chr(125) || '/1000000000')::sparsevec AS terms,
               (SELECT array_agg(rarity::real ORDER BY place) FROM asked) AS rarity),
    known AS (
        SELECT key, documents, sum(documents) OVER (ORDER BY documents, key) AS together,
               row_number() OVER (ORDER BY documents, key) AS place
          FROM (SELECT DISTINCT key, documents FROM asked WHERE documents < $9::real * chunk_count) AS each),
    chosen AS MATERIALIZED (
        -- Rarest first while they fit; if not even one fits, chunks that hold two of the three rarest.
        SELECT coalesce(min(together) > $8::integer, false) AS pairs,
               array_agg(key ORDER BY place) FILTER (WHERE together <= $8::integer) AS fitting,
               array_agg(key ORDER BY place) FILTER (WHERE place <= 3) AS first
          FROM known),
    near AS MATERIALIZED (
        SELECT id FROM chunks
         WHERE tenant_id = $1 AND knowledge_base_id = '{{base}}' AND vector_dims(embedding) = {{dimension}}
           AND $3::real[] IS NOT NULL
         ORDER BY embedding::halfvec({{dimension}}) <#> $3::real[]::halfvec({{dimension}}) LIMIT {{top_k}}),
    usual AS MATERIALIZED (
        -- Content hashes are as good as drawn by lot: the first of them are a sample of the base, the same one each time.
        SELECT count(*) AS chunks, avg(cosine) AS mean, stddev_pop(cosine) AS spread
          FROM (SELECT -(embedding <#> $3::real[]::halfvec) AS cosine FROM
                       (SELECT embedding FROM chunks WHERE tenant_id = $1 AND knowledge_base_id = '{{base}}'
                           AND vector_dims(embedding) = {{dimension}} AND $3::real[] IS NOT NULL
                         ORDER BY content_hash LIMIT {{sample}}) AS drawn) AS compared),
    found AS MATERIALIZED (
        SELECT c.id, coalesce(-(c.embedding <#> $3::real[]::halfvec), 0) AS cosine,
               coalesce(-(c.keywords <#> (SELECT terms FROM question)), 0) AS keywords
          FROM (SELECT id FROM near
                UNION
                SELECT worded.chunk_id FROM chosen CROSS JOIN question
                 CROSS JOIN worded_chunks($2, CASE WHEN pairs THEN first ELSE fitting END, pairs, question.terms,
                                          $8::integer, $7::integer) AS worded) AS ids
          JOIN chunks c ON c.tenant_id = $1 AND c.id = ids.id
         WHERE EXISTS (SELECT FROM knowledge_bases b
                        WHERE b.tenant_id = $1 AND b.id = $2 AND ($10::text IS NULL OR b.embedder = $10)))
SELECT c.id, c.document_id, c.ordinal, c.heading, c.anchor, c.text, c.page, c.language, c.question, c.title, c.url,
       found.cosine, found.keywords, question.rarity, usual.chunks, usual.mean, usual.spread,
       ARRAY(SELECT asked.place FROM asked WHERE asked.key = ANY(c.term_keys)) AS said
  FROM found
 CROSS JOIN LATERAL (
        SELECT c.id, c.document_id, c.ordinal, c.heading, c.anchor, c.text, c.page, c.language, c.question, c.term_keys,
               d.title, d.url
          FROM chunks c JOIN documents d ON d.tenant_id = $1 AND d.id = c.document_id
         WHERE c.tenant_id = $1 AND c.id = found.id
        OFFSET 0) AS c
 CROSS JOIN question
 CROSS JOIN usual
 ORDER BY found.cosine DESC, c.id
"""


def large_statement(knowledge_base_id: KnowledgeBaseId, *, dimension: int, top_k: int) -> str:
    """RETRIEVE_LARGE for one base. Raises ValueError for what is no id: it becomes part of the text."""
    if not is_id(knowledge_base_id):
        raise ValueError(f"not an id: {knowledge_base_id!r}")
    return RETRIEVE_LARGE.format(base=knowledge_base_id, dimension=int(dimension), top_k=int(top_k), sample=SAMPLE)


def is_large(chunk_count: int) -> bool:
    """Whether a base of so many chunks is searched by its indexes."""
    return chunk_count >= LARGE_FROM
