-- Vectors of a large knowledge base, found by the base's own index (features/knowledge/indexes.py). Its predicate names the
-- base, so the planner takes it only for a statement that names the base as well: the statement is made here. And it takes
-- it reluctantly, because it believes that a tenant or a base has few rows: with enable_sort off, what needs no sorting wins.
-- Both work under row-level security as their caller.

CREATE FUNCTION near_chunks(of_base uuid, question real[], at_most integer)
RETURNS TABLE (chunk_id uuid)
LANGUAGE plpgsql STABLE ROWS 20 SET enable_sort = off AS $$
-- The ids of about the nearest `at_most` chunks, nearest first. Exact, and slow, if there is no index.
BEGIN
    IF question IS NULL OR at_most < 1 THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT id FROM chunks WHERE knowledge_base_id = %1$L AND vector_dims(embedding) = %2$s
          ORDER BY embedding::halfvec(%2$s) <#> $1::halfvec(%2$s) LIMIT %3$s',
        of_base, cardinality(question), at_most) USING question;
END
$$;

CREATE FUNCTION usual_cosines(of_base uuid, asked real[], sample integer)
RETURNS TABLE (chunks bigint, mean double precision, spread double precision)
LANGUAGE plpgsql STABLE ROWS 1 SET enable_sort = off AS $$
-- How near any chunk of a base is to a question. Content hashes are as good as drawn by lot: the first of them are a sample,
-- the same one each time.
DECLARE
    of_tenant uuid := nullif(current_setting('chatwright.tenant_id', true), '')::uuid;
BEGIN
    RETURN QUERY
    SELECT count(*), avg(cosine), stddev_pop(cosine) FROM
        (SELECT -(drawn.embedding <#> asked::halfvec) AS cosine FROM
            (SELECT c.embedding FROM chunks c
              WHERE c.tenant_id = of_tenant AND c.knowledge_base_id = of_base
                AND asked IS NOT NULL AND vector_dims(c.embedding) = cardinality(asked)
              ORDER BY c.content_hash LIMIT sample) AS drawn) AS compared;
END
$$;
