-- As before (0016), and: each answer of the history comes with its animation, so that the next one is another; and what the guard
-- refused (of a burst: all of it) is in no later prompt. Its place in the history stays.
CREATE OR REPLACE FUNCTION claim_job(of_tenant uuid, wanted uuid, wanted_generation integer, lease_s float8, history_messages integer)
RETURNS TABLE (
    id uuid, tenant_id uuid, chatbot_id uuid, type text, queue text, priority integer, attempt integer,
    failures integer, generation integer, message_id uuid, conversation_id uuid, payload jsonb, created_at_s float8,
    started_at_s float8, deadline_at_s float8, text text, ordinal integer, metadata jsonb, cancel_asked boolean,
    visitor_id text, calls_made bigint, history jsonb, forgotten_upto integer, summarised_upto integer
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    first_started timestamptz;
BEGIN
    PERFORM set_config('chatwright.tenant_id', of_tenant::text, true);

    -- A worker takes the job up: a new attempt begins, older ones are fenced off. No row: it is not to be run (any more).
    UPDATE jobs j SET state = 'running', attempt = j.attempt + 1, started_at = coalesce(j.started_at, now()),
                      lease_until = now() + make_interval(secs => lease_s)
     WHERE j.tenant_id = of_tenant AND j.id = wanted AND j.generation = wanted_generation
       AND j.state IN ('queued', 'running')
    RETURNING j.id, j.tenant_id, j.chatbot_id, j.type, j.queue, j.priority, j.attempt, j.failures, j.generation,
              j.message_id, j.conversation_id, j.payload, extract(epoch FROM j.created_at)::float8,
              extract(epoch FROM j.started_at)::float8, extract(epoch FROM j.deadline_at)::float8, j.started_at
         INTO id, tenant_id, chatbot_id, type, queue, priority, attempt, failures, generation, message_id,
              conversation_id, payload, created_at_s, started_at_s, deadline_at_s, first_started;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF claim_job.message_id IS NOT NULL THEN
        -- A replay starts a new count of calls: only those since its first attempt belong to it.
        SELECT m.text, m.ordinal, c.metadata || m.metadata, m.cancel_asked_at IS NOT NULL, c.visitor_id,
               (SELECT count(*) FROM calls k WHERE k.tenant_id = of_tenant AND k.message_id = m.id AND k.kind = 'call'
                   AND k.provider <> 'extractive' AND k.opened_at >= first_started),
               (SELECT coalesce(jsonb_agg(jsonb_build_array(h.text, h.answer, h.animation) ORDER BY h.ordinal), '[]')
                  FROM (SELECT e.ordinal, a.text AS answer, a.animation,
                               CASE WHEN e.state = 'refused' OR (e.merged_into IS NOT NULL AND EXISTS (
                                        SELECT FROM messages r WHERE r.tenant_id = of_tenant AND r.id = e.merged_into
                                                                 AND r.state = 'refused'))
                                    THEN '' ELSE e.text END AS text
                          FROM messages e
                          LEFT JOIN answers a ON a.tenant_id = of_tenant AND a.message_id = e.id
                         WHERE e.tenant_id = of_tenant AND e.conversation_id = m.conversation_id
                           AND e.ordinal < m.ordinal AND e.ordinal > greatest(c.forgotten_upto, c.summarised_upto)
                         ORDER BY e.ordinal DESC LIMIT history_messages) h),
               c.forgotten_upto, c.summarised_upto
          INTO text, ordinal, metadata, cancel_asked, visitor_id, calls_made, history, forgotten_upto, summarised_upto
          FROM messages m JOIN conversations c ON c.tenant_id = of_tenant AND c.id = m.conversation_id
         WHERE m.tenant_id = of_tenant AND m.id = claim_job.message_id;
    END IF;
    RETURN NEXT;
END
$$;
