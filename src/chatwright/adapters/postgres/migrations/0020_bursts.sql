-- Bursts: messages of one conversation that come close together are answered once, by the answer to the last of them.

ALTER TABLE messages
    ADD COLUMN merged_into uuid;        -- in the state merged_into: the message whose answer is this one's, too
CREATE INDEX messages_merged ON messages (tenant_id, merged_into) WHERE merged_into IS NOT NULL;

ALTER TABLE jobs
    ADD COLUMN visible_at timestamptz;  -- where bursts are on: the first text may be seen, no later message takes this one over

-- Ends the messages before `carrier` that it takes over, latest first, and returns them with their jobs, or null. Its caller
-- holds the conversation's row lock, so none of them can end, or be cancelled, meanwhile; the lock on each job's row decides
-- between this and the first text that becomes visible. A higher attempt fences the worker off that may be at it.
CREATE FUNCTION take_over_burst(of_tenant uuid, of_conversation uuid, of_chatbot uuid, carrier uuid, said text)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    window_ms integer;
    earlier record;
    chars integer := length(said);
    parts integer := 1;
    taken jsonb;
BEGIN
    SELECT c.burst_window_ms INTO window_ms FROM chatbots c WHERE c.tenant_id = of_tenant AND c.id = of_chatbot;
    IF coalesce(window_ms, 0) = 0 THEN
        RETURN NULL;
    END IF;
    FOR earlier IN
        SELECT j.id AS job_id, j.state, j.visible_at, j.generation, m.id AS message_id, m.cancel_asked_at,
               length(m.text) + coalesce(before.chars, 0) AS chars, 1 + coalesce(before.parts, 0) AS parts,
               least(m.created_at, before.created_at) AS begun_at
          FROM jobs j JOIN messages m ON m.tenant_id = of_tenant AND m.id = j.message_id
         CROSS JOIN LATERAL (SELECT sum(length(e.text)) AS chars, count(*) AS parts, min(e.created_at) AS created_at
                               FROM messages e WHERE e.tenant_id = of_tenant AND e.merged_into = m.id) AS before
         WHERE j.tenant_id = of_tenant AND j.conversation_id = of_conversation AND j.type = 'chat_response'
           AND j.state IN ('waiting', 'queued', 'running')
         ORDER BY m.ordinal DESC FOR UPDATE OF j
    LOOP
        chars := chars + earlier.chars;
        parts := parts + earlier.parts;
        -- A burst lasts ten windows at most: whoever goes on and on is answered all the same. One that was withdrawn, or is
        -- replayed by an operator, is nobody else's.
        EXIT WHEN earlier.visible_at IS NOT NULL OR earlier.cancel_asked_at IS NOT NULL OR earlier.generation > 1
               OR now() - earlier.begun_at > make_interval(secs => window_ms / 100.0) OR chars > 16000 OR parts > 20;
        UPDATE jobs SET state = 'done', attempt = attempt + 1, lease_until = NULL, finished_at = now()
         WHERE tenant_id = of_tenant AND id = earlier.job_id;
        UPDATE messages SET merged_into = carrier WHERE tenant_id = of_tenant AND merged_into = earlier.message_id;
        UPDATE messages SET state = 'merged_into', merged_into = carrier, finished_at = now()
         WHERE tenant_id = of_tenant AND id = earlier.message_id;
        taken := coalesce(taken, '[]') || jsonb_build_object('job_id', earlier.job_id, 'message_id', earlier.message_id,
                                                             'running', earlier.state = 'running');
    END LOOP;
    RETURN taken;
END
$$;

-- As before (0003), and: where a burst is on, the message takes over those before it that nobody has begun to answer.
DROP FUNCTION accept_message;
CREATE FUNCTION accept_message(
    of_tenant uuid, asked_key text, asked_hash bytea, receipt jsonb, is_new boolean, to_conversation uuid,
    for_chatbot uuid, by_visitor text, new_message uuid, said text, said_metadata jsonb, new_job uuid, job_type text,
    job_queue text, job_priority integer
) RETURNS TABLE (
    job_state text, chatbot uuid, ordinal integer, next_base bigint, weight real, earlier_hash bytea, earlier_response jsonb,
    taken_over jsonb
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
    IF job_state = 'waiting' THEN
        taken_over := take_over_burst(of_tenant, to_conversation, chatbot, new_message, said);
        IF taken_over IS NOT NULL AND NOT EXISTS (
            SELECT FROM jobs j WHERE j.tenant_id = of_tenant AND j.conversation_id = to_conversation AND j.type = job_type
                                 AND j.state IN ('waiting', 'queued', 'running')) THEN
            job_state := 'queued';
        END IF;
    END IF;
    INSERT INTO jobs (id, tenant_id, chatbot_id, type, queue, priority, state, message_id, conversation_id, payload)
    VALUES (new_job, of_tenant, chatbot, job_type, job_queue, job_priority, job_state, new_message, to_conversation,
            CASE WHEN taken_over IS NULL THEN '{}' ELSE '{"burst": true}' END::jsonb);

    SELECT t.weight INTO weight FROM tenants t WHERE t.id = of_tenant;
    RETURN NEXT;
END
$$;

REVOKE ALL ON FUNCTION take_over_burst, accept_message FROM PUBLIC;
GRANT EXECUTE ON FUNCTION take_over_burst, accept_message TO chatwright_app;
