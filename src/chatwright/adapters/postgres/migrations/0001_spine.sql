-- The spine: tenants, chatbots, keys, conversations, messages, answers, jobs (the outbox), knowledge, calls, dead letters.
-- Every tenant's table carries tenant_id, in its keys too, and has row-level security FORCED, so that not even the
-- owner reads past it. chatwright_app sees the tenant named by the transaction's setting; chatwright_ops has explicit
-- policies on the tables it needs (key look-up, sweeper, platform administration) and no grant on any other.

CREATE EXTENSION IF NOT EXISTS vector;

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['chatwright_app', 'chatwright_ops'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN NOBYPASSRLS NOSUPERUSER NOCREATEDB NOCREATEROLE', role_name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database of this cluster migrated at the same moment
            END;
        END IF;
        EXECUTE format('GRANT %I TO CURRENT_USER WITH SET TRUE, INHERIT FALSE', role_name);
    END LOOP;
END
$$;

CREATE TABLE installation_secrets (
    name        text PRIMARY KEY,
    secret      bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE tenants (
    id          uuid PRIMARY KEY,
    name        text NOT NULL,
    plan        text NOT NULL DEFAULT 'standard',
    time_zone   text NOT NULL DEFAULT 'UTC',
    weight      real NOT NULL DEFAULT 1 CHECK (weight > 0),
    disabled_at timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
    id           uuid PRIMARY KEY,
    tenant_id    uuid REFERENCES tenants (id) ON DELETE CASCADE,  -- null: a platform key
    kind         text NOT NULL CHECK (kind IN ('admin', 'tenant')),
    name         text NOT NULL DEFAULT '',
    hash         bytea NOT NULL UNIQUE,
    prefix       text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    revoked_at   timestamptz,
    CHECK ((kind = 'admin') = (tenant_id IS NULL))
);
CREATE INDEX api_keys_tenant ON api_keys (tenant_id, created_at);
CREATE INDEX api_keys_revoked ON api_keys (revoked_at) WHERE revoked_at IS NOT NULL;

CREATE TABLE knowledge_bases (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name       text NOT NULL,
    version    bigint NOT NULL DEFAULT 1,  -- raised by every change of content; caches key on it
    embedder   text NOT NULL,
    dimension  integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, id)
);

CREATE TABLE documents (
    id                uuid PRIMARY KEY,
    tenant_id         uuid NOT NULL,
    knowledge_base_id uuid NOT NULL,
    title             text NOT NULL,
    url               text,
    media_type        text NOT NULL,
    text              text NOT NULL,
    content_hash      bytea NOT NULL,
    state             text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'indexing', 'indexed', 'failed')),
    error             text,
    chunk_count       integer NOT NULL DEFAULT 0,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, knowledge_base_id) REFERENCES knowledge_bases (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX documents_knowledge_base ON documents (tenant_id, knowledge_base_id, id);

CREATE TABLE chunks (
    id                uuid PRIMARY KEY,
    tenant_id         uuid NOT NULL,
    knowledge_base_id uuid NOT NULL,
    document_id       uuid NOT NULL,
    ordinal           integer NOT NULL,
    heading           text NOT NULL DEFAULT '',
    anchor            text,
    text              text NOT NULL,
    tokens            integer NOT NULL,
    content_hash      bytea NOT NULL,
    embedding         vector(384) NOT NULL,
    FOREIGN KEY (tenant_id, document_id) REFERENCES documents (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX chunks_knowledge_base ON chunks (tenant_id, knowledge_base_id);
CREATE INDEX chunks_document ON chunks (tenant_id, document_id, ordinal);

CREATE TABLE chatbots (
    id                  uuid PRIMARY KEY,
    tenant_id           uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    slug                text NOT NULL CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    name                text NOT NULL,
    widget_id           text NOT NULL UNIQUE,
    revision            integer NOT NULL DEFAULT 1,
    providers           jsonb NOT NULL DEFAULT '[]',
    system_prompt       text NOT NULL DEFAULT '',
    personality         text NOT NULL DEFAULT '',
    temperature         double precision CHECK (temperature BETWEEN 0 AND 2),
    max_tokens          integer NOT NULL DEFAULT 1024 CHECK (max_tokens BETWEEN 1 AND 131072),
    knowledge_base_id   uuid,
    knowledge_enabled   boolean NOT NULL DEFAULT true,
    languages           text[] NOT NULL DEFAULT '{en}',
    cache_policy        jsonb NOT NULL DEFAULT '{}',
    guard_policy        jsonb NOT NULL DEFAULT '{}',
    animation_set       jsonb NOT NULL DEFAULT '{}',
    allowed_origins     text[] NOT NULL DEFAULT '{}',
    limits              jsonb NOT NULL DEFAULT '{}',
    greeting            text NOT NULL DEFAULT '',
    suggested_questions text[] NOT NULL DEFAULT '{}',
    no_answer_text      text NOT NULL DEFAULT '',
    apology_text        text NOT NULL DEFAULT '',
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, slug),
    FOREIGN KEY (tenant_id, knowledge_base_id) REFERENCES knowledge_bases (tenant_id, id)
        ON DELETE SET NULL (knowledge_base_id)
);

CREATE TABLE conversations (
    id           uuid PRIMARY KEY,
    tenant_id    uuid NOT NULL,
    chatbot_id   uuid NOT NULL,
    visitor_id   text NOT NULL,
    metadata     jsonb NOT NULL DEFAULT '{}',
    next_ordinal integer NOT NULL DEFAULT 1,
    seq_base     bigint NOT NULL DEFAULT 0,   -- raised when the event log had to be made anew (adapters/valkey/log.py)
    last_seq     bigint NOT NULL DEFAULT 0,   -- as of the last finished message
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, chatbot_id) REFERENCES chatbots (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX conversations_visitor ON conversations (tenant_id, chatbot_id, visitor_id, id);

CREATE TABLE messages (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    chatbot_id      uuid NOT NULL,
    conversation_id uuid NOT NULL,
    ordinal         integer NOT NULL,
    text            text NOT NULL,
    state           text NOT NULL DEFAULT 'accepted' CHECK (state IN
        ('accepted', 'answered', 'merged_into', 'refused', 'cancelled', 'failed', 'handed_off')),
    error_code      text,
    error_message   text,
    cancel_asked_at timestamptz,
    metadata        jsonb NOT NULL DEFAULT '{}',
    reading         jsonb,
    created_at      timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz,
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, conversation_id, ordinal),
    FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversations (tenant_id, id) ON DELETE CASCADE
);

CREATE TABLE answers (
    id                uuid PRIMARY KEY,
    tenant_id         uuid NOT NULL,
    chatbot_id        uuid NOT NULL,
    conversation_id   uuid NOT NULL,
    message_id        uuid NOT NULL,
    attempt           integer NOT NULL,
    text              text NOT NULL,
    sources           jsonb NOT NULL DEFAULT '[]',
    animation         text,
    suggested_actions jsonb NOT NULL DEFAULT '[]',
    confidence        double precision,
    provider          text NOT NULL,
    model             text NOT NULL,
    input_tokens      bigint NOT NULL DEFAULT 0,
    cached_tokens     bigint NOT NULL DEFAULT 0,
    output_tokens     bigint NOT NULL DEFAULT 0,
    cost_nano         bigint,                       -- null: no price is known
    cached            text NOT NULL DEFAULT 'miss',
    partial           boolean NOT NULL DEFAULT false,
    streamed          boolean NOT NULL DEFAULT true,
    chunk_count       integer NOT NULL DEFAULT 0,
    processing_ms     integer NOT NULL DEFAULT 0,
    created_at        timestamptz NOT NULL DEFAULT now(),
    UNIQUE (message_id),                            -- exactly one answer, whatever happens
    FOREIGN KEY (tenant_id, message_id) REFERENCES messages (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX answers_conversation ON answers (tenant_id, conversation_id);

-- Every unit of queued work; a row is also its own outbox entry: what is 'queued' here belongs in BullMQ, and the
-- sweeper puts it back when it is not there.
CREATE TABLE jobs (
    id                 uuid PRIMARY KEY,
    tenant_id          uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    chatbot_id         uuid,
    type               text NOT NULL,
    queue              text NOT NULL,
    priority           integer NOT NULL CHECK (priority BETWEEN 1 AND 10),
    state              text NOT NULL DEFAULT 'queued' CHECK (state IN
        ('waiting', 'queued', 'running', 'done', 'failed', 'cancelled')),
    message_id         uuid,
    conversation_id    uuid,
    payload            jsonb NOT NULL DEFAULT '{}',
    result             jsonb,
    error_code         text,
    error              text,
    attempt            integer NOT NULL DEFAULT 0,   -- fencing token: raised whenever a worker takes the job up
    failures           integer NOT NULL DEFAULT 0,   -- attempts that ended in an error of ours; stalls are none
    generation         integer NOT NULL DEFAULT 1,   -- raised by a replay, part of the BullMQ job id
    run_after          timestamptz NOT NULL DEFAULT now(),
    lease_until        timestamptz,
    deadline_at        timestamptz,
    cost_estimate_nano bigint,
    created_at         timestamptz NOT NULL DEFAULT now(),
    started_at         timestamptz,
    finished_at        timestamptz,
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, message_id) REFERENCES messages (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX jobs_open ON jobs (id) WHERE state IN ('queued', 'running');
CREATE INDEX jobs_conversation ON jobs (tenant_id, conversation_id, id) WHERE state IN ('waiting', 'queued', 'running');
CREATE INDEX jobs_message ON jobs (tenant_id, message_id) WHERE message_id IS NOT NULL;

CREATE TABLE idempotency_keys (
    tenant_id  uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    key        text NOT NULL,
    body_hash  bytea NOT NULL,
    status     integer,
    response   jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- One row per provider call, opened before the call and closed after it; a row that a crash left open is settled at
-- its reservation and marked estimated.
CREATE TABLE calls (
    id               uuid PRIMARY KEY,
    tenant_id        uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    chatbot_id       uuid,
    conversation_id  uuid,
    message_id       uuid,
    kind             text NOT NULL DEFAULT 'call' CHECK (kind IN ('call', 'cache_hit')),
    purpose          text NOT NULL DEFAULT 'chat',
    provider         text NOT NULL,
    model            text NOT NULL,
    key_id           text,
    state            text NOT NULL DEFAULT 'open' CHECK (state IN
        ('open', 'ok', 'failed', 'cut', 'cancelled', 'abandoned')),
    error_class      text,
    upstream_status  integer,
    input_tokens     bigint NOT NULL DEFAULT 0,
    cached_tokens    bigint NOT NULL DEFAULT 0,
    output_tokens    bigint NOT NULL DEFAULT 0,
    reasoning_tokens bigint NOT NULL DEFAULT 0,
    reserved_nano    bigint,
    cost_nano        bigint,
    saved_nano       bigint NOT NULL DEFAULT 0,
    estimated        boolean NOT NULL DEFAULT false,
    price_book       text,
    opened_at        timestamptz NOT NULL DEFAULT now(),
    closed_at        timestamptz
);
CREATE INDEX calls_tenant_time ON calls (tenant_id, opened_at);
CREATE INDEX calls_open ON calls (opened_at) WHERE state = 'open';
CREATE INDEX calls_message ON calls (tenant_id, message_id) WHERE message_id IS NOT NULL;

CREATE TABLE dead_letters (
    id          uuid PRIMARY KEY,
    tenant_id   uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    chatbot_id  uuid,
    job_id      uuid NOT NULL,
    generation  integer NOT NULL,
    job_type    text NOT NULL,
    message_id  uuid,
    reason      text NOT NULL,
    error_class text NOT NULL,
    attempts    integer NOT NULL,
    payload     jsonb NOT NULL DEFAULT '{}',
    state       text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'replayed', 'discarded')),
    created_at  timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz,
    UNIQUE (job_id, generation)
);
CREATE INDEX dead_letters_open ON dead_letters (tenant_id, state, id);

CREATE TABLE audit_log (
    id         uuid PRIMARY KEY,
    tenant_id  uuid,
    actor      text NOT NULL,
    action     text NOT NULL,
    target     text NOT NULL DEFAULT '',
    detail     jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX audit_log_tenant ON audit_log (tenant_id, id);

-- Row-level security -------------------------------------------------------------------------------------------------

DO $$
DECLARE
    t text;
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO chatwright_app, chatwright_ops', current_schema());
    FOREACH t IN ARRAY ARRAY['knowledge_bases', 'documents', 'chunks', 'chatbots', 'conversations', 'messages',
                             'answers', 'jobs', 'idempotency_keys', 'calls', 'dead_letters', 'audit_log', 'api_keys']
    LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        -- The scalar subquery makes the planner read the setting once per statement, not once per row.
        EXECUTE format($policy$
            CREATE POLICY tenant_only ON %I FOR ALL TO chatwright_app
            USING (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid))
            WITH CHECK (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid))
        $policy$, t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO chatwright_app', t);
    END LOOP;

    ALTER TABLE tenants ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY tenant_only ON tenants FOR SELECT TO chatwright_app
        USING (id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid));
    GRANT SELECT ON tenants TO chatwright_app;

    -- The second role: exactly these tables, and of visitors' words none but what a job needs to be put back.
    FOREACH t IN ARRAY ARRAY['tenants', 'api_keys', 'jobs', 'calls', 'dead_letters', 'idempotency_keys', 'audit_log']
    LOOP
        EXECUTE format('CREATE POLICY operators ON %I FOR ALL TO chatwright_ops USING (true) WITH CHECK (true)', t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO chatwright_ops', t);
    END LOOP;
    CREATE POLICY operators ON chatbots FOR SELECT TO chatwright_ops USING (true);
    GRANT SELECT ON chatbots TO chatwright_ops;
    GRANT SELECT, INSERT ON installation_secrets TO chatwright_ops;
END
$$;
REVOKE UPDATE, DELETE ON audit_log FROM chatwright_app, chatwright_ops;
