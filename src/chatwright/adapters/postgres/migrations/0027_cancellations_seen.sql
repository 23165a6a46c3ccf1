-- A worker that renews its leases also learns which of its messages were asked to be cancelled, for Valkey may have been
-- away when that was told. The operators' role sees that it was asked, and nothing of the message.

DO $$
BEGIN
    EXECUTE 'CREATE POLICY operators ON messages FOR SELECT TO chatwright_ops USING (true)';
    GRANT SELECT (tenant_id, id, cancel_asked_at) ON messages TO chatwright_ops;
END
$$;
