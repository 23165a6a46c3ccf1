-- Knowledge that grows: originals in the object store, a keyword index beside the vectors, resumable indexing, embedders
-- changed while a base is in use, deletion of large bases in small steps.

-- The owner's own rows are hidden from it (FORCE); the counts below need them for the length of this transaction.
ALTER TABLE knowledge_bases NO FORCE ROW LEVEL SECURITY;
ALTER TABLE documents NO FORCE ROW LEVEL SECURITY;
ALTER TABLE chunks NO FORCE ROW LEVEL SECURITY;

ALTER TABLE knowledge_bases
    ADD COLUMN next_embedder  text,                            -- a re-embedding is under way: to this one
    ADD COLUMN next_dimension integer,
    ADD COLUMN next_ready_at  timestamptz,                     -- every chunk had its next vector then: time to swap them in
    ADD COLUMN chunk_count    bigint NOT NULL DEFAULT 0,
    ADD COLUMN total_terms    bigint NOT NULL DEFAULT 0,       -- sum of its chunks' term counts: BM25's mean length
    ADD COLUMN deleted_at     timestamptz,                     -- gone for its tenant; the sweeper takes it apart
    ADD CHECK ((next_embedder IS NULL) = (next_dimension IS NULL));
CREATE INDEX knowledge_bases_next_ready ON knowledge_bases (next_ready_at) WHERE next_ready_at IS NOT NULL;
CREATE INDEX knowledge_bases_deleted ON knowledge_bases (deleted_at) WHERE deleted_at IS NOT NULL;

ALTER TABLE documents
    ADD COLUMN source        text NOT NULL DEFAULT 'text' CHECK (source IN ('text', 'upload', 'url')),
    ADD COLUMN is_titled     boolean NOT NULL DEFAULT true,    -- its owner gave the title
    ADD COLUMN source_key    text,                             -- a path or an address: adding it again replaces
    ADD COLUMN original_key  text,                             -- in the object store; null: `text` is all there is
    ADD COLUMN size_bytes    bigint NOT NULL DEFAULT 0,
    ADD COLUMN etag          text,                             -- of a page that was fetched, for cheap refreshes
    ADD COLUMN last_modified text,
    ADD COLUMN language      text,
    ADD COLUMN pages         integer,
    ADD COLUMN warnings      text[] NOT NULL DEFAULT '{}',
    ADD COLUMN chunks_done   integer NOT NULL DEFAULT 0,       -- with vectors, while it is indexed
    ADD COLUMN chunks_total  integer,                          -- null: not known yet
    ADD COLUMN index_form    integer NOT NULL DEFAULT 0,       -- which form of index its chunks are in; older ones are made anew
    ADD COLUMN index_hash    bytea;                            -- of all that its chunks say: equal ones need no swap
UPDATE documents SET size_bytes = octet_length(text), chunks_total = chunk_count, chunks_done = chunk_count;
-- Keys may be longer than an index entry may be.
CREATE UNIQUE INDEX documents_source_key ON documents (tenant_id, knowledge_base_id, md5(source_key))
    WHERE source_key IS NOT NULL;
CREATE INDEX documents_original_key ON documents (tenant_id, original_key) WHERE original_key IS NOT NULL;
CREATE INDEX documents_index_form ON documents (index_form, id) WHERE state = 'indexed';

-- Half precision: half the memory, and ranks that differ in the fourth digit. The dimension is its base's.
ALTER TABLE chunks
    ALTER COLUMN embedding TYPE halfvec USING embedding::halfvec,
    ADD COLUMN embedding_next halfvec,                         -- by its base's next_embedder
    ADD COLUMN page           integer,
    ADD COLUMN language       text,
    ADD COLUMN question       text,
    ADD COLUMN term_count     integer NOT NULL DEFAULT 0,
    -- What its words say (features/knowledge/keywords.py); null in chunks that an older form wrote.
    ADD COLUMN keywords       sparsevec(1000000000),           -- a weight for each term: BM25 is one inner product
    ADD COLUMN term_keys      integer[];                       -- the terms as numbers that carry the base
-- Rows stay in line: an exact scan that fetches each vector from elsewhere takes several times as long.
ALTER TABLE chunks
    ALTER COLUMN text SET STORAGE MAIN,
    ALTER COLUMN embedding SET STORAGE MAIN,
    ALTER COLUMN embedding_next SET STORAGE MAIN,
    ALTER COLUMN keywords SET STORAGE MAIN,
    SET (toast_tuple_target = 8160);
-- Without a pending list: a search never pays for an insert.
CREATE INDEX chunks_term_keys ON chunks USING gin (term_keys) WITH (fastupdate = off);
CREATE INDEX chunks_content ON chunks (tenant_id, knowledge_base_id, content_hash);

UPDATE knowledge_bases b SET chunk_count = (SELECT count(*) FROM chunks c WHERE c.tenant_id = b.tenant_id
                                               AND c.knowledge_base_id = b.id);

-- In how many chunks of a base a term stands. Kept by the statements that swap chunks, under the base's row lock.
CREATE TABLE knowledge_terms (
    tenant_id         uuid NOT NULL,
    knowledge_base_id uuid NOT NULL,
    term_key          integer NOT NULL,                        -- as in chunks.term_keys
    documents         bigint NOT NULL CHECK (documents > 0),
    PRIMARY KEY (tenant_id, knowledge_base_id, term_key),
    FOREIGN KEY (tenant_id, knowledge_base_id) REFERENCES knowledge_bases (tenant_id, id) ON DELETE CASCADE
) WITH (fillfactor = 80);

-- Vectors of an index job under way, so that a killed worker's work is not done twice. Gone with the swap.
CREATE TABLE staged_vectors (
    tenant_id    uuid NOT NULL,
    document_id  uuid NOT NULL,
    embedder     text NOT NULL,
    content_hash bytea NOT NULL,
    embedding    halfvec NOT NULL,
    PRIMARY KEY (tenant_id, document_id, embedder, content_hash),
    FOREIGN KEY (tenant_id, document_id) REFERENCES documents (tenant_id, id) ON DELETE CASCADE
);

ALTER TABLE knowledge_bases FORCE ROW LEVEL SECURITY;
ALTER TABLE documents FORCE ROW LEVEL SECURITY;
ALTER TABLE chunks FORCE ROW LEVEL SECURITY;

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['knowledge_terms', 'staged_vectors'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE format($policy$
            CREATE POLICY tenant_only ON %I FOR ALL TO chatwright_app
            USING (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid))
            WITH CHECK (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid))
        $policy$, t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO chatwright_app', t);
    END LOOP;
    -- The sweeper finds bases to take apart and documents to index anew: their ids and nothing they say.
    FOREACH t IN ARRAY ARRAY['knowledge_bases', 'documents'] LOOP
        EXECUTE format('CREATE POLICY operators ON %I FOR SELECT TO chatwright_ops USING (true)', t);
    END LOOP;
    GRANT SELECT (id, tenant_id, deleted_at, next_embedder, next_ready_at) ON knowledge_bases TO chatwright_ops;
    GRANT SELECT (id, tenant_id, knowledge_base_id, state, index_form) ON documents TO chatwright_ops;
END
$$;
