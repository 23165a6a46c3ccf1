"""SQL of a search in a large knowledge base: both halves in one round trip, with work that does not grow with the base.

Vectors come from the base's own HNSW index (`indexes.py`), words from the chunks that hold the question's rarest terms;
three functions in the database look them up. Without the index the statement is right all the same, and slow. Called by
`search.py`.
"""

LARGE_FROM = 5_000
"""Chunks from which a base is searched by its indexes. Below it an exact scan is as fast, and misses nothing."""
WORDED_CANDIDATES = 3_000
"""Chunks that are scored by their words: as many of the question's terms are looked up, rarest first, as have together
no more. Each costs a random read of its row."""
COMMON = 0.1
"""A term in more than this share of the chunks says nothing that is worth a look-up."""
SAMPLE = 200
"""Chunks whose cosines tell what is usual in the base."""

RETRIEVE_LARGE = """
-- $3 the question's vector or NULL, $7 how many of each half, $8 the embedder that made the vector or NULL: nothing is found
-- if the base has another one by now. $9 to $11 as WORDED_CANDIDATES, COMMON and SAMPLE.
WITH asked AS (
        -- The question's terms with how rare they are in the base: BM25's inverse document frequency.
        SELECT a.place, a.dimension, a.key, a.weight, a.documents, b.chunk_count,
               ln(1 + (greatest(b.chunk_count - coalesce(a.documents, 0), 0) + 0.5)
                      / (coalesce(a.documents, 0) + 0.5)) AS rarity
          FROM knowledge_bases b
         CROSS JOIN (
               -- Term by term: the planner would rather read all terms of the base than believe that it has so many.
               SELECT a.*, (SELECT t.documents FROM knowledge_terms t
                             WHERE t.tenant_id = $1 AND t.knowledge_base_id = $2 AND t.term_key = a.key) AS documents
                 FROM unnest($4::integer[], $5::integer[], $6::real[]) WITH ORDINALITY
                      AS a (dimension, key, weight, place)
               OFFSET 0) AS a
         WHERE b.tenant_id = $1 AND b.id = $2),
    question AS MATERIALIZED (
        SELECT ('{' || coalesce((SELECT string_agg(dimension || ':' || weighed, ',' ORDER BY dimension)
                                   FROM (SELECT dimension, sum(weight * rarity)::real AS weighed FROM asked
                                          GROUP BY dimension) AS one_each), '')
                || '}/1000000000')::sparsevec AS terms,
               (SELECT array_agg(rarity::real ORDER BY place) FROM asked) AS rarity
         WHERE EXISTS (SELECT FROM knowledge_bases b
                        WHERE b.tenant_id = $1 AND b.id = $2 AND ($8::text IS NULL OR b.embedder = $8))),
    known AS (
        SELECT key, documents, sum(documents) OVER (ORDER BY documents, key) AS together,
               row_number() OVER (ORDER BY documents, key) AS place
          FROM (SELECT DISTINCT key, documents FROM asked WHERE documents < $10::real * chunk_count) AS each),
    chosen AS MATERIALIZED (
        -- Rarest first while they fit; if not even one fits, chunks that hold two of the three rarest.
        SELECT coalesce(min(together) > $9::integer, false) AS pairs,
               array_agg(key ORDER BY place) FILTER (WHERE together <= $9::integer) AS fitting,
               array_agg(key ORDER BY place) FILTER (WHERE place <= 3) AS first
          FROM known),
    found AS MATERIALIZED (
        SELECT near.chunk_id FROM question CROSS JOIN near_chunks($2, $3::real[], $7::integer) AS near
        UNION
        SELECT worded.chunk_id FROM chosen CROSS JOIN question
         CROSS JOIN worded_chunks($2, CASE WHEN pairs THEN first ELSE fitting END, pairs, question.terms, $9::integer,
                                  $7::integer) AS worded)
-- Row by row: the planner would rather read all chunks of the tenant than believe that so few are found.
SELECT c.id, c.document_id, c.ordinal, c.heading, c.anchor, c.text, c.page, c.language, c.question, c.suspicion, c.title, c.url,
       c.cosine, c.keywords, question.rarity, usual.chunks, usual.mean, usual.spread,
       ARRAY(SELECT asked.place FROM asked WHERE asked.key = ANY(c.term_keys)) AS said
  FROM found
 CROSS JOIN question
 CROSS JOIN LATERAL (
        SELECT c.id, c.document_id, c.ordinal, c.heading, c.anchor, c.text, c.page, c.language, c.question, c.suspicion, c.term_keys,
               d.title, d.url, coalesce(-(c.embedding <#> $3::real[]::halfvec), 0) AS cosine,
               coalesce(-(c.keywords <#> question.terms), 0) AS keywords
          FROM chunks c JOIN documents d ON d.tenant_id = $1 AND d.id = c.document_id
         WHERE c.tenant_id = $1 AND c.id = found.chunk_id
        OFFSET 0) AS c
 CROSS JOIN usual_cosines($2, $3::real[], $11::integer) AS usual
 ORDER BY c.cosine DESC, c.id
"""


def is_large(chunk_count: int) -> bool:
    """Whether a base of so many chunks is searched by its indexes."""
    return chunk_count >= LARGE_FROM
