-- What the guard saw, what a tenant says it saw wrongly, and the tenant's own rules. An excerpt is kept so that somebody can
-- judge; it is the tenant's to see, and goes with the row after guard_log_days.

CREATE TABLE guard_events (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    chatbot_id      uuid,                           -- null: a document, a text that was only tried
    conversation_id uuid,
    message_id      uuid,
    document_id     uuid,
    direction       text NOT NULL CHECK (direction IN ('input', 'document', 'metadata', 'output', 'leak')),
    rule            text NOT NULL,                  -- the weightiest finding's; 'model' where only the score told
    rules           text[] NOT NULL DEFAULT '{}',   -- all of them
    verdict         text NOT NULL CHECK (verdict IN ('flag', 'advise', 'block', 'mask', 'stop')),
    score           real,                           -- the model's, null where none read it
    span_start      integer NOT NULL DEFAULT 0,     -- of the weightiest finding, in characters
    span_end        integer NOT NULL DEFAULT 0,
    excerpt         text NOT NULL DEFAULT '' CHECK (char_length(excerpt) <= 120),
    text_mark       bytea NOT NULL,                 -- features/guard/allow.py: of the whole text ...
    span_mark       bytea NOT NULL,                 -- ... and of the span
    wrong_at        timestamptz,                    -- somebody said that this was no attack
    created_at      timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, chatbot_id) REFERENCES chatbots (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX guard_events_tenant ON guard_events (tenant_id, id DESC);
CREATE INDEX guard_events_chatbot ON guard_events (tenant_id, chatbot_id, id DESC) WHERE chatbot_id IS NOT NULL;
CREATE INDEX guard_events_document ON guard_events (tenant_id, document_id) WHERE document_id IS NOT NULL;
CREATE INDEX guard_events_age ON guard_events (created_at);

-- Texts, or spans under one rule, that are no attack in this tenant's trade.
CREATE TABLE guard_allowed (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    rule       text NOT NULL,                       -- '*': the whole text, whatever was found in it
    mark       bytea NOT NULL,
    excerpt    text NOT NULL DEFAULT '' CHECK (char_length(excerpt) <= 120),
    event_id   uuid,                                -- which event it was made of, maybe gone by now
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, rule, mark)
);

-- What a tenant's chatbots inherit. changed_at rises with the tenant's allow list, too: every process looks at it twice a second.
CREATE TABLE guard_policies (
    tenant_id  uuid PRIMARY KEY REFERENCES tenants (id) ON DELETE CASCADE,
    policy     jsonb NOT NULL DEFAULT '{}',
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX guard_policies_changed ON guard_policies (changed_at);

-- How sure the guard is that a passage speaks to the model instead of to its readers; null: it is not suspicious.
ALTER TABLE chunks ADD COLUMN suspicion real;

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['guard_events', 'guard_allowed', 'guard_policies'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE format($policy$
            CREATE POLICY tenant_only ON %I FOR ALL TO chatwright_app
            USING (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid))
            WITH CHECK (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid))
        $policy$, t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO chatwright_app', t);
    END LOOP;
    -- Every process learns whose rules changed: ids and times, nothing that was said. The sweeper deletes by age.
    EXECUTE 'CREATE POLICY operators ON guard_policies FOR SELECT TO chatwright_ops USING (true)';
    GRANT SELECT (tenant_id, changed_at) ON guard_policies TO chatwright_ops;
    EXECUTE 'CREATE POLICY operators ON guard_events FOR ALL TO chatwright_ops USING (true)';
    GRANT SELECT (id, tenant_id, created_at), DELETE ON guard_events TO chatwright_ops;
END
$$;
