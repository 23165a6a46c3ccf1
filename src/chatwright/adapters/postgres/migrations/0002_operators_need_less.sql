-- The operators' role keeps what it uses and nothing else. It could delete tenants, with everything of theirs that hangs
-- on them, and it could read what jobs work on: texts to be analysed and passages that were found.

REVOKE DELETE ON tenants, api_keys, calls FROM chatwright_ops;
REVOKE INSERT, UPDATE, DELETE ON dead_letters FROM chatwright_ops;
REVOKE SELECT, INSERT, UPDATE ON jobs FROM chatwright_ops;
GRANT UPDATE (lease_until) ON jobs TO chatwright_ops;
GRANT SELECT (id, tenant_id, chatbot_id, type, queue, priority, state, message_id, conversation_id, attempt, failures,
              generation, run_after, lease_until, deadline_at, cost_estimate_nano, created_at, started_at, finished_at)
    ON jobs TO chatwright_ops;
