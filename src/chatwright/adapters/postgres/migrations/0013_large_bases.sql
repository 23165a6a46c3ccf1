-- Large knowledge bases: a search that does bounded work. (Their vectors' indexes are made and dropped by the workers,
-- one for each large base: features/knowledge/indexes.py.)

-- Row-level security keeps the index over term_keys from being used: PostgreSQL lets no operator but a "leakproof" one
-- look at rows before the policy has. So one function, which compares the tenant itself, looks terms up for chatwright_app.
-- It belongs to a role that can read numbers, no words; whoever calls it gets ids and scores of its own tenant.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'chatwright_search') THEN
        BEGIN
            CREATE ROLE chatwright_search NOLOGIN NOBYPASSRLS NOSUPERUSER NOCREATEDB NOCREATEROLE;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- another database of this cluster migrated at the same moment
        END;
    END IF;
    GRANT chatwright_search TO CURRENT_USER WITH SET TRUE, INHERIT FALSE;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO chatwright_search', current_schema());
END
$$;
GRANT SELECT (id, tenant_id, knowledge_base_id, keywords, term_keys) ON chunks TO chatwright_search;
CREATE POLICY searched ON chunks FOR SELECT TO chatwright_search USING (true);

CREATE FUNCTION worded_chunks(of_base uuid, keys integer[], pairs boolean, asked sparsevec, candidates integer, at_most integer)
RETURNS TABLE (chunk_id uuid, score double precision)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 20 AS $$
-- The best `at_most` of up to `candidates` chunks that hold one of `keys` (with `pairs`: two of its first three).
DECLARE
    of_tenant uuid := nullif(current_setting('chatwright.tenant_id', true), '')::uuid;
    first_two integer[] := keys[1:2];
    outer_two integer[] := CASE WHEN cardinality(keys) > 2 THEN ARRAY[keys[1], keys[3]] ELSE keys[1:2] END;
    last_two  integer[] := CASE WHEN cardinality(keys) > 2 THEN keys[2:3] ELSE keys[1:2] END;
BEGIN
    IF of_tenant IS NULL OR asked IS NULL OR coalesce(cardinality(keys), 0) = 0 THEN
        RETURN;
    END IF;
    -- OFFSET 0: the index over term_keys alone finds the chunks, because a key belongs to one base.
    IF pairs AND cardinality(keys) > 1 THEN
        RETURN QUERY
        SELECT found.id, -(found.keywords <#> asked) FROM
               (SELECT * FROM (SELECT c.id, c.tenant_id, c.knowledge_base_id, c.keywords FROM chunks c
                                WHERE c.term_keys @> first_two OR c.term_keys @> outer_two
                                   OR c.term_keys @> last_two OFFSET 0) AS held
                 WHERE held.tenant_id = of_tenant AND held.knowledge_base_id = of_base LIMIT candidates) AS found
         ORDER BY 2 DESC, 1 LIMIT at_most;
    ELSE
        RETURN QUERY
        SELECT found.id, -(found.keywords <#> asked) FROM
               (SELECT * FROM (SELECT c.id, c.tenant_id, c.knowledge_base_id, c.keywords FROM chunks c
                                WHERE c.term_keys && keys OFFSET 0) AS held
                 WHERE held.tenant_id = of_tenant AND held.knowledge_base_id = of_base LIMIT candidates) AS found
         ORDER BY 2 DESC, 1 LIMIT at_most;
    END IF;
END
$$;
DO $$
DECLARE
    signature text := 'worded_chunks(uuid, integer[], boolean, sparsevec, integer, integer)';
    -- A definer's function names where it looks. The operators of pgvector may be elsewhere.
    path text := (SELECT string_agg(DISTINCT quote_ident(n.nspname), ', ') FROM pg_namespace n
                   WHERE n.nspname = current_schema()
                      OR n.oid = (SELECT extnamespace FROM pg_extension WHERE extname = 'vector'));
BEGIN
    EXECUTE format('ALTER FUNCTION %s SET search_path = %s, pg_temp', signature, path);
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO chatwright_app', signature);
    EXECUTE format('GRANT CREATE ON SCHEMA %I TO chatwright_search', current_schema());
    EXECUTE format('ALTER FUNCTION %s OWNER TO chatwright_search', signature);
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM chatwright_search', current_schema());
END
$$;

-- The upkeep chooses by size which bases get an index.
GRANT SELECT (chunk_count, dimension, next_embedder) ON knowledge_bases TO chatwright_ops;
