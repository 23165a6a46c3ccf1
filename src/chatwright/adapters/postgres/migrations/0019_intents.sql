-- Intents of a chatbot's own: what a message may be about, told by a few examples each, and the model that is made of them.

CREATE TABLE custom_intents (
    tenant_id  uuid NOT NULL,
    chatbot_id uuid NOT NULL,
    name       text NOT NULL,
    examples   text[] NOT NULL CHECK (cardinality(examples) > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, chatbot_id, name),
    FOREIGN KEY (tenant_id, chatbot_id) REFERENCES chatbots (tenant_id, id) ON DELETE CASCADE
);

CREATE TABLE intent_models (
    tenant_id       uuid NOT NULL,
    chatbot_id      uuid NOT NULL,
    model           bytea,                          -- features/analysis/custom.py; null: no intents, or none trained yet
    version         bigint NOT NULL DEFAULT 0,      -- raised with every change of the examples
    trained_version bigint NOT NULL DEFAULT 0,      -- the one that was trained last
    figures         jsonb NOT NULL DEFAULT '{}',    -- what the model would say of its own examples unseen
    trained_at      timestamptz,
    lease_until     timestamptz NOT NULL DEFAULT '-infinity',  -- somebody trains it until then at most
    PRIMARY KEY (tenant_id, chatbot_id),
    FOREIGN KEY (tenant_id, chatbot_id) REFERENCES chatbots (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX intent_models_due ON intent_models (tenant_id) WHERE version > trained_version;

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['custom_intents', 'intent_models'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE format($policy$
            CREATE POLICY tenant_only ON %I FOR ALL TO chatwright_app
            USING (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid))
            WITH CHECK (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid))
        $policy$, t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO chatwright_app', t);
    END LOOP;
    -- The workers find out whose model is due: ids and counts, no example.
    EXECUTE 'CREATE POLICY operators ON intent_models FOR SELECT TO chatwright_ops USING (true)';
    GRANT SELECT (tenant_id, chatbot_id, version, trained_version, lease_until) ON intent_models TO chatwright_ops;
END
$$;
