-- Where alerts are delivered, and the outbox that remembers what each place still has to hear.

CREATE TABLE webhooks (
    id          uuid PRIMARY KEY,
    tenant_id   uuid REFERENCES tenants (id) ON DELETE CASCADE,     -- null: the platform's, which hears everybody's alerts
    kind        text NOT NULL CHECK (kind IN ('webhook', 'slack', 'email')),
    target      text NOT NULL,                                      -- as it may be shown: a URL, a mail address, Slack's host
    events      text[] NOT NULL,                                    -- kinds of alerts, prefixes as in budget.*, or *
    sealed      bytea NOT NULL DEFAULT '',                          -- the signing secret, or Slack's whole URL; as in provider_keys
    sealed_by   text NOT NULL DEFAULT '',
    version     integer NOT NULL DEFAULT 1,                         -- raised by every new sealing
    enabled     boolean NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL DEFAULT now(),
    tried_at    timestamptz,                                        -- the latest sample that was asked for
    last_ok_at  timestamptz,
    last_error  text,
    failures    integer NOT NULL DEFAULT 0                          -- attempts failed in a row
);
CREATE INDEX webhooks_tenant ON webhooks (tenant_id, id);
CREATE INDEX webhooks_sealed_by ON webhooks (sealed_by);

-- One row for each alert and place, made once. A pending row is due at next_at; who takes it moves that into the future
-- first, so that another process takes it over if this one dies.
CREATE TABLE alert_deliveries (
    alert_id    uuid NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    webhook_id  uuid NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    tenant_id   uuid REFERENCES tenants (id) ON DELETE CASCADE,     -- the webhook's owner; null: the platform
    state       text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'failed')),
    attempts    integer NOT NULL DEFAULT 0,
    next_at     timestamptz NOT NULL DEFAULT now(),
    last_status integer,                                            -- HTTP status of the latest attempt; null: none came
    last_error  text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    ended_at    timestamptz,
    UNIQUE (alert_id, webhook_id)
);
CREATE INDEX alert_deliveries_due ON alert_deliveries (webhook_id, next_at) WHERE state = 'pending';
CREATE INDEX alert_deliveries_next ON alert_deliveries (next_at) WHERE state = 'pending';
CREATE INDEX alert_deliveries_age ON alert_deliveries (created_at);

-- What was raised before there was anywhere to deliver it to stays undelivered.
ALTER TABLE alerts ADD COLUMN fanned_out_at timestamptz DEFAULT now();
ALTER TABLE alerts ALTER COLUMN fanned_out_at DROP DEFAULT;
CREATE INDEX alerts_to_fan_out ON alerts (id) WHERE fanned_out_at IS NULL;

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['webhooks', 'alert_deliveries'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE format($policy$
            CREATE POLICY tenant_only ON %I FOR ALL TO chatwright_app
            USING (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid))
            WITH CHECK (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid))
        $policy$, t);
        EXECUTE format('CREATE POLICY operators ON %I FOR ALL TO chatwright_ops USING (true) WITH CHECK (true)', t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO chatwright_ops', t);
    END LOOP;
    GRANT SELECT, INSERT, UPDATE, DELETE ON webhooks TO chatwright_app;
    GRANT SELECT ON alert_deliveries TO chatwright_app;
    GRANT UPDATE (fanned_out_at) ON alerts TO chatwright_ops;
END
$$;
