-- What a conversation remembers beyond its latest messages, and where its memory begins.

-- Messages up to `forgotten_upto` are in no prompt any more: a reset, or a handoff, drew the line there. Those up to
-- `summarised_upto` stand in the summary. Both in this row, because every claim of a message reads it anyway.
ALTER TABLE conversations
    ADD COLUMN forgotten_upto integer NOT NULL DEFAULT 0,
    ADD COLUMN summarised_upto integer NOT NULL DEFAULT 0;

-- Names of the fields of the visitor's metadata that its prompts show. None by default.
ALTER TABLE chatbots ADD COLUMN metadata_fields text[] NOT NULL DEFAULT '{}';

CREATE TABLE conversation_summaries (
    tenant_id       uuid NOT NULL,
    conversation_id uuid NOT NULL,
    covers_from     integer NOT NULL DEFAULT 0,        -- messages after this one ...
    covers_upto     integer NOT NULL DEFAULT 0,        -- ... up to this one; as conversations.summarised_upto
    text            text NOT NULL DEFAULT '',          -- as prompts show it: facts and gist within their bound
    facts           jsonb NOT NULL DEFAULT '[]',       -- [ordinal, score, times said, text]
    gist            text NOT NULL DEFAULT '',          -- what it was about
    made_by         text NOT NULL DEFAULT '',          -- provider/model of the last step, or 'local'
    tokens          integer NOT NULL DEFAULT 0,        -- of `text`
    steps           integer NOT NULL DEFAULT 0,
    maker           uuid,                              -- the job that is making the next step ...
    making_until    timestamptz NOT NULL DEFAULT '-infinity',  -- ... and how long it is waited for
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, conversation_id),
    FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversations (tenant_id, id) ON DELETE CASCADE
);

ALTER TABLE conversation_summaries ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_only ON conversation_summaries FOR ALL TO chatwright_app
    USING (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid))
    WITH CHECK (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE, DELETE ON conversation_summaries TO chatwright_app;

-- As before (0003), and: the history begins where the summary ends, and the conversation's metadata comes along, its
-- message's own fields going first.
DROP FUNCTION claim_job;
CREATE FUNCTION claim_job(of_tenant uuid, wanted uuid, wanted_generation integer, lease_s float8, history_messages integer)
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
               (SELECT coalesce(jsonb_agg(jsonb_build_array(h.text, h.answer) ORDER BY h.ordinal), '[]')
                  FROM (SELECT e.ordinal, e.text, a.text AS answer FROM messages e
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

REVOKE ALL ON FUNCTION claim_job FROM PUBLIC;
GRANT EXECUTE ON FUNCTION claim_job TO chatwright_app;
