-- Provider keys, sealed; alerts; what a call wrote into a provider's prompt cache; hedging per chatbot.

CREATE TABLE provider_keys (
    id            uuid PRIMARY KEY,
    tenant_id     uuid REFERENCES tenants (id) ON DELETE CASCADE,   -- null: the platform's
    provider      text NOT NULL,
    name          text NOT NULL DEFAULT '',
    hint          text NOT NULL DEFAULT '',                         -- the last characters, so that people can tell keys apart
    sealed        bytea NOT NULL,                                   -- nonce + AES-256-GCM; AAD = tenant|id|version; empty: forgotten
    sealed_by     text NOT NULL,                                    -- id of the key-encryption key; empty: forgotten
    version       integer NOT NULL DEFAULT 1,                       -- raised by every new sealing
    base_url      text,                                             -- null: the provider's own address
    request_limit integer CHECK (request_limit > 0),                -- a minute; null: what the provider's answers say
    token_limit   integer CHECK (token_limit > 0),
    created_at    timestamptz NOT NULL DEFAULT now(),
    last_used_at  timestamptz,
    ends_at       timestamptz,                                      -- revoked, or the end of a rotation's overlap
    successor_id  uuid,
    UNIQUE NULLS NOT DISTINCT (tenant_id, id)
);
CREATE INDEX provider_keys_tenant ON provider_keys (tenant_id, provider, id);
CREATE INDEX provider_keys_created ON provider_keys (created_at);
CREATE INDEX provider_keys_ended ON provider_keys (ends_at) WHERE ends_at IS NOT NULL;
CREATE INDEX provider_keys_sealed_by ON provider_keys (sealed_by);

-- Told once per subject, kind and period; whoever delivers them keeps its own notes.
CREATE TABLE alerts (
    id         uuid PRIMARY KEY,
    tenant_id  uuid REFERENCES tenants (id) ON DELETE CASCADE,      -- null: the platform's
    kind       text NOT NULL,
    level      text NOT NULL CHECK (level IN ('info', 'warning', 'critical')),
    subject    text NOT NULL,
    period     text NOT NULL,
    message    text NOT NULL,
    detail     jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE NULLS NOT DISTINCT (tenant_id, kind, subject, period)
);
CREATE INDEX alerts_tenant ON alerts (tenant_id, id);

-- What each key did in windows of ten minutes, kept for a week: a key's usual, without reading a week of calls.
CREATE TABLE key_usage (
    key_id     text NOT NULL,                                       -- as in calls: an id, or env for a key of the environment
    provider   text NOT NULL,
    tenant_id  uuid REFERENCES tenants (id) ON DELETE CASCADE,      -- the key's owner; null: the platform's
    opened_at  timestamptz NOT NULL,                                -- the window's start
    calls      bigint NOT NULL,
    failures   bigint NOT NULL,
    cost_nano  bigint NOT NULL,
    PRIMARY KEY (key_id, provider, opened_at)
);
CREATE INDEX key_usage_age ON key_usage (opened_at);

-- Work that any process may do, but only one per period.
CREATE TABLE chores (
    name    text PRIMARY KEY,
    done_at timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE calls ADD COLUMN cache_write_tokens bigint NOT NULL DEFAULT 0;

ALTER TABLE chatbots ADD COLUMN hedging boolean;                    -- null: as the platform says

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['provider_keys', 'alerts', 'key_usage'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE format($policy$
            CREATE POLICY tenant_only ON %I FOR ALL TO chatwright_app
            USING (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid))
            WITH CHECK (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid))
        $policy$, t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO chatwright_app', t);
        EXECUTE format('CREATE POLICY operators ON %I FOR ALL TO chatwright_ops USING (true) WITH CHECK (true)', t);
    END LOOP;
    GRANT SELECT, INSERT, UPDATE ON provider_keys, chores TO chatwright_ops;
    GRANT SELECT, INSERT ON alerts TO chatwright_ops;
    GRANT SELECT, INSERT, UPDATE, DELETE ON key_usage TO chatwright_ops;
END
$$;
