-- Conversations that come in as files. A file is worked on in windows, in the order of its rows, each cut into units that
-- are written at once; a unit's row is written with what it brings, so that no unit is ever written twice.

CREATE TABLE imports (
    id             uuid PRIMARY KEY,
    tenant_id      uuid NOT NULL,
    chatbot_id     uuid NOT NULL,
    source         text NOT NULL,                       -- whose ids the file's ids are: part of every id made of them
    name           text NOT NULL,                       -- of the file, as it was sent
    file_key       text,                                -- in the object store; null once it is needed no more
    size_bytes     bigint NOT NULL,
    dialect        jsonb NOT NULL,
    columns        jsonb NOT NULL,
    options        jsonb NOT NULL,
    state          text NOT NULL DEFAULT 'queued' CHECK (state IN
        ('queued', 'running', 'paused', 'done', 'failed', 'cancelled')),
    stage          text NOT NULL DEFAULT 'reading' CHECK (stage IN
        ('reading', 'ordering', 'summarising', 'reporting', 'over')),
    reason         text,                                -- why it is paused: operator, budget
    error          text,
    leg            integer NOT NULL DEFAULT 0,          -- fencing token: raised by each job that takes the import up
    unit_rows      integer NOT NULL CHECK (unit_rows > 0),
    next_window    integer NOT NULL DEFAULT 0,          -- the checkpoint: where the next window begins, in windows, ...
    offset_bytes   bigint NOT NULL DEFAULT 0,           -- ... in bytes ...
    rows_before    bigint NOT NULL DEFAULT 0,           -- ... and in rows
    rows_read      bigint NOT NULL DEFAULT 0,           -- counters of all units before it
    rows_stored    bigint NOT NULL DEFAULT 0,
    rows_failed    bigint NOT NULL DEFAULT 0,
    rows_skipped   bigint NOT NULL DEFAULT 0,
    rows_recoded   bigint NOT NULL DEFAULT 0,           -- lines that were not in the file's encoding
    messages       bigint NOT NULL DEFAULT 0,
    conversations  bigint NOT NULL DEFAULT 0,
    summaries      bigint NOT NULL DEFAULT 0,
    problems_kept  integer NOT NULL DEFAULT 0,
    worked_s       double precision NOT NULL DEFAULT 0, -- time spent reading and writing, pauses left out
    summarised_s   double precision NOT NULL DEFAULT 0,
    quote_nano     bigint,                              -- what its summaries may cost at most; null: nobody knows
    report_key     text,                                -- prefix in the object store
    created_at     timestamptz NOT NULL DEFAULT now(),
    started_at     timestamptz,
    finished_at    timestamptz,
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, chatbot_id) REFERENCES chatbots (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX imports_tenant ON imports (tenant_id, id);

-- What units beyond the checkpoint have brought. Those before it are summed up in their import's row.
CREATE TABLE import_units (
    tenant_id     uuid NOT NULL,
    import_id     uuid NOT NULL,
    unit          bigint NOT NULL,
    rows_read     integer NOT NULL DEFAULT 0,
    rows_stored   integer NOT NULL DEFAULT 0,
    rows_failed   integer NOT NULL DEFAULT 0,
    rows_skipped  integer NOT NULL DEFAULT 0,
    messages      integer NOT NULL DEFAULT 0,
    conversations integer NOT NULL DEFAULT 0,
    problems      integer NOT NULL DEFAULT 0,
    counts        jsonb NOT NULL DEFAULT '{}',         -- {kind: {name: n}}, for import_counts
    PRIMARY KEY (tenant_id, import_id, unit),
    FOREIGN KEY (tenant_id, import_id) REFERENCES imports (tenant_id, id) ON DELETE CASCADE
);

-- What a report shows: messages by day and side, readings by day, intents, skipped rows by reason.
CREATE TABLE import_counts (
    tenant_id uuid NOT NULL,
    import_id uuid NOT NULL,
    kind      text NOT NULL,
    name      text NOT NULL,
    n         bigint NOT NULL,
    PRIMARY KEY (tenant_id, import_id, kind, name),
    FOREIGN KEY (tenant_id, import_id) REFERENCES imports (tenant_id, id) ON DELETE CASCADE
);

CREATE TABLE import_problems (
    tenant_id uuid NOT NULL,
    import_id uuid NOT NULL,
    number    bigint NOT NULL,                          -- row of the file, from 1
    reason    text NOT NULL,
    raw       text NOT NULL,
    PRIMARY KEY (tenant_id, import_id, number),
    FOREIGN KEY (tenant_id, import_id) REFERENCES imports (tenant_id, id) ON DELETE CASCADE
);

-- Which conversations came in, by the import that brought the latest of them, and what is still to be done with each.
CREATE TABLE import_conversations (
    tenant_id       uuid NOT NULL,
    conversation_id uuid NOT NULL,
    import_id       uuid NOT NULL,
    first_at        timestamptz NOT NULL,
    last_at         timestamptz NOT NULL,
    is_unordered    boolean NOT NULL DEFAULT false,     -- its messages do not stand in the order of their times
    summary         text NOT NULL DEFAULT 'none' CHECK (summary IN ('none', 'waiting', 'done')),
    PRIMARY KEY (tenant_id, conversation_id),
    FOREIGN KEY (tenant_id, conversation_id) REFERENCES conversations (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX import_conversations_import ON import_conversations (tenant_id, import_id, conversation_id);
CREATE INDEX import_conversations_waiting ON import_conversations (tenant_id, import_id, conversation_id)
    WHERE summary = 'waiting';
CREATE INDEX import_conversations_unordered ON import_conversations (tenant_id, import_id, conversation_id)
    WHERE is_unordered;

CREATE TABLE import_presets (
    tenant_id  uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    name       text NOT NULL,
    columns    jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, name)
);

-- Agents' messages have a sentiment too.
ALTER TABLE answers ADD COLUMN reading jsonb;

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['imports', 'import_units', 'import_counts', 'import_problems', 'import_conversations',
                             'import_presets'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE format($policy$
            CREATE POLICY tenant_only ON %I FOR ALL TO chatwright_app
            USING (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid))
            WITH CHECK (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid))
        $policy$, t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO chatwright_app', t);
    END LOOP;
END
$$;
