-- The two steps that a visitor waits for, each in one round trip and one transaction: a message comes in, and a worker
-- takes it up. Each names its tenant first, then works under row-level security as its caller (no definer rights).

CREATE FUNCTION accept_message(
    of_tenant uuid, asked_key text, asked_hash bytea, receipt jsonb, is_new boolean, to_conversation uuid,
    for_chatbot uuid, by_visitor text, new_message uuid, said text, said_metadata jsonb, new_job uuid, job_type text,
    job_queue text, job_priority integer
) RETURNS TABLE (
    job_state text, chatbot uuid, ordinal integer, next_base bigint, weight real, earlier_hash bytea, earlier_response jsonb
) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('chatwright.tenant_id', of_tenant::text, true);

    -- 24 h of exactly-once: a second sender waits here for the first one's commit, then gets that one's receipt.
    IF asked_key IS NOT NULL THEN
        INSERT INTO idempotency_keys AS k (tenant_id, key, body_hash, response)
        VALUES (of_tenant, asked_key, asked_hash, receipt)
        ON CONFLICT (tenant_id, key) DO NOTHING;
        IF NOT FOUND THEN
            SELECT k.body_hash, k.response INTO earlier_hash, earlier_response
              FROM idempotency_keys k WHERE k.tenant_id = of_tenant AND k.key = asked_key;
            IF FOUND THEN
                RETURN NEXT;
                RETURN;
            END IF;
            RAISE EXCEPTION 'the idempotency key is being tidied away' USING ERRCODE = '40001';
        END IF;
    END IF;

    -- The conversation's row lock orders its messages against each other and against their endings; the statements after
    -- it see what was committed while we waited for it. A new conversation is known to nobody else yet.
    IF is_new THEN
        INSERT INTO conversations (id, tenant_id, chatbot_id, visitor_id, next_ordinal)
        VALUES (to_conversation, of_tenant, for_chatbot, by_visitor, 2);
        chatbot := for_chatbot;
        ordinal := 1;
        next_base := 0;
    ELSE
        UPDATE conversations c SET next_ordinal = c.next_ordinal + 1, updated_at = now()
         WHERE c.tenant_id = of_tenant AND c.id = to_conversation AND (for_chatbot IS NULL OR c.chatbot_id = for_chatbot)
           AND (by_visitor IS NULL OR c.visitor_id = by_visitor)
        RETURNING c.chatbot_id, c.next_ordinal - 1,
                  CASE WHEN c.next_ordinal = 2 THEN 0
                       ELSE (greatest(c.seq_base, c.last_seq) / 100000 + 1) * 100000 END
             INTO chatbot, ordinal, next_base;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'no such conversation' USING ERRCODE = 'CW404';  -- takes the key back, too
        END IF;
    END IF;

    INSERT INTO messages (id, tenant_id, chatbot_id, conversation_id, ordinal, text, metadata)
    VALUES (new_message, of_tenant, chatbot, to_conversation, accept_message.ordinal, said, said_metadata);

    -- The job waits while an earlier message of the conversation is unanswered; whoever finishes that one queues this one.
    job_state := CASE WHEN NOT is_new AND EXISTS (
        SELECT FROM jobs j WHERE j.tenant_id = of_tenant AND j.conversation_id = to_conversation AND j.type = job_type
                             AND j.state IN ('waiting', 'queued', 'running')) THEN 'waiting' ELSE 'queued' END;
    INSERT INTO jobs (id, tenant_id, chatbot_id, type, queue, priority, state, message_id, conversation_id)
    VALUES (new_job, of_tenant, chatbot, job_type, job_queue, job_priority, job_state, new_message, to_conversation);

    SELECT t.weight INTO weight FROM tenants t WHERE t.id = of_tenant;
    RETURN NEXT;
END
$$;

CREATE FUNCTION claim_job(of_tenant uuid, wanted uuid, wanted_generation integer, lease_s float8, history_messages integer)
RETURNS TABLE (
    id uuid, tenant_id uuid, chatbot_id uuid, type text, queue text, priority integer, attempt integer,
    failures integer, generation integer, message_id uuid, conversation_id uuid, payload jsonb, created_at_s float8,
    started_at_s float8, deadline_at_s float8, text text, ordinal integer, metadata jsonb, cancel_asked boolean,
    visitor_id text, calls_made bigint, history jsonb
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
        SELECT m.text, m.ordinal, m.metadata, m.cancel_asked_at IS NOT NULL, c.visitor_id,
               (SELECT count(*) FROM calls k WHERE k.tenant_id = of_tenant AND k.message_id = m.id AND k.kind = 'call'
                   AND k.provider <> 'extractive' AND k.opened_at >= first_started),
               (SELECT coalesce(jsonb_agg(jsonb_build_array(h.text, h.answer) ORDER BY h.ordinal), '[]')
                  FROM (SELECT e.ordinal, e.text, a.text AS answer FROM messages e
                          LEFT JOIN answers a ON a.tenant_id = of_tenant AND a.message_id = e.id
                         WHERE e.tenant_id = of_tenant AND e.conversation_id = m.conversation_id
                           AND e.ordinal < m.ordinal
                         ORDER BY e.ordinal DESC LIMIT history_messages) h)
          INTO text, ordinal, metadata, cancel_asked, visitor_id, calls_made, history
          FROM messages m JOIN conversations c ON c.tenant_id = of_tenant AND c.id = m.conversation_id
         WHERE m.tenant_id = of_tenant AND m.id = claim_job.message_id;
    END IF;
    RETURN NEXT;
END
$$;

REVOKE ALL ON FUNCTION accept_message, claim_job FROM PUBLIC;
GRANT EXECUTE ON FUNCTION accept_message, claim_job TO chatwright_app;
