-- What the semantic cache of a chatbot has learned: classes of questions that mean the same, how visitors put them, what is
-- known not to belong to them. It outlives configurations and contents. An answer belongs to a class under one scope (whose
-- digest stands for revision, knowledge, models and options), so no change serves a stale one.

CREATE TABLE cache_classes (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL,
    chatbot_id uuid NOT NULL,
    label      integer NOT NULL,                    -- its number in the chatbot's router; never given twice
    hits       bigint NOT NULL DEFAULT 0,
    agreed     integer NOT NULL DEFAULT 0,          -- checks by outcome
    disagreed  integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, id),
    UNIQUE (tenant_id, chatbot_id, label),
    FOREIGN KEY (tenant_id, chatbot_id) REFERENCES chatbots (tenant_id, id) ON DELETE CASCADE
);

CREATE TABLE cache_phrasings (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL,
    chatbot_id uuid NOT NULL,
    class_id   uuid,                                -- null: of no class
    verdict    text NOT NULL CHECK (verdict IN ('verified', 'rejected', 'nobody')),
    origin     text NOT NULL CHECK (origin IN ('miss', 'check', 'seed', 'feedback', 'operator')),
    text       text NOT NULL,
    digest     bytea NOT NULL,                      -- of the normalised text
    vector     halfvec NOT NULL,
    share      real NOT NULL DEFAULT 1 CHECK (share > 0 AND share <= 1),  -- how probable it was to learn of it
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((verdict = 'nobody') = (class_id IS NULL)),
    FOREIGN KEY (tenant_id, chatbot_id) REFERENCES chatbots (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, class_id) REFERENCES cache_classes (tenant_id, id) ON DELETE CASCADE
);
-- A question is in one class, or known to be in none; it may have been rejected by several.
CREATE UNIQUE INDEX cache_phrasings_settled ON cache_phrasings (tenant_id, chatbot_id, digest) WHERE verdict <> 'rejected';
CREATE UNIQUE INDEX cache_phrasings_rejected ON cache_phrasings (tenant_id, class_id, digest) WHERE verdict = 'rejected';
CREATE INDEX cache_phrasings_newest ON cache_phrasings (tenant_id, chatbot_id, created_at) WHERE verdict = 'verified';
CREATE INDEX cache_phrasings_class ON cache_phrasings (tenant_id, class_id);

CREATE TABLE cache_answers (
    tenant_id    uuid NOT NULL,
    chatbot_id   uuid NOT NULL,
    class_id     uuid NOT NULL,
    scope_digest bytea NOT NULL,
    content      bytea NOT NULL,                    -- features/cache/entry.py
    text_digest  bytea NOT NULL,                    -- of the answer's text without what is no difference
    vector       halfvec,                           -- of the answer's text, once one was needed
    answer_id    uuid,                              -- which answer of ours it was
    document_ids uuid[] NOT NULL DEFAULT '{}',
    agreed       integer NOT NULL DEFAULT 0,        -- times that a provider said the same since
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, class_id, scope_digest),
    FOREIGN KEY (tenant_id, chatbot_id) REFERENCES chatbots (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, class_id) REFERENCES cache_classes (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX cache_answers_chatbot ON cache_answers (tenant_id, chatbot_id, text_digest);

-- Hits that were looked at: what the false-hit rate is measured by. The newest are kept.
CREATE TABLE cache_checks (
    id         uuid PRIMARY KEY,
    tenant_id  uuid NOT NULL,
    chatbot_id uuid NOT NULL,
    class_id   uuid NOT NULL,                       -- maybe gone by now
    drawn      text NOT NULL CHECK (drawn IN ('uniform', 'chosen', 'feedback')),
    outcome    text NOT NULL CHECK (outcome IN ('same', 'different', 'unknown')),
    judge      text NOT NULL,                       -- text, local, model, visitor
    share      real NOT NULL CHECK (share > 0 AND share <= 1),  -- how probable it was that this hit was looked at
    confidence real NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant_id, chatbot_id) REFERENCES chatbots (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX cache_checks_chatbot ON cache_checks (tenant_id, chatbot_id, id);

CREATE TABLE cache_routers (
    tenant_id      uuid NOT NULL,
    chatbot_id     uuid NOT NULL,
    router         bytea,                           -- features/cache/router.py; null: nothing trained yet
    next_label     integer NOT NULL DEFAULT 0,      -- of the next class: a number that went away stays away
    version        bigint NOT NULL DEFAULT 0,       -- raised when what processes hold in memory has to be read anew
    labels         bigint NOT NULL DEFAULT 0,       -- learned so far
    trained_labels bigint NOT NULL DEFAULT 0,       -- of these, when the router was trained
    examples       integer NOT NULL DEFAULT 0,      -- it was trained on
    max_error      real,                            -- it was trained for
    threshold      real,
    figures        jsonb NOT NULL DEFAULT '{}',
    trained_at     timestamptz,
    began_at       timestamptz,                     -- that training: it knows what had been learned by then
    taken_at       timestamptz,                     -- by whoever has the lease
    lease_until    timestamptz NOT NULL DEFAULT '-infinity',  -- somebody trains it until then at most
    purged_at      timestamptz NOT NULL DEFAULT '-infinity',    -- what was asked before it is not learned any more
    strictness     smallint NOT NULL DEFAULT 0 CHECK (strictness BETWEEN 0 AND 3),  -- features/cache/checks.py; 3: off
    strict_since   timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (tenant_id, chatbot_id),
    FOREIGN KEY (tenant_id, chatbot_id) REFERENCES chatbots (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX cache_routers_due ON cache_routers (tenant_id) WHERE labels > trained_labels;

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['cache_classes', 'cache_phrasings', 'cache_answers', 'cache_checks', 'cache_routers'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', t);
        EXECUTE format($policy$
            CREATE POLICY tenant_only ON %I FOR ALL TO chatwright_app
            USING (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid))
            WITH CHECK (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid))
        $policy$, t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO chatwright_app', t);
    END LOOP;
    -- The workers find out whose router is due: ids and counts, nothing that was said.
    EXECUTE 'CREATE POLICY operators ON cache_routers FOR SELECT TO chatwright_ops USING (true)';
    GRANT SELECT (tenant_id, chatbot_id, labels, trained_labels, examples, trained_at, lease_until)
        ON cache_routers TO chatwright_ops;
END
$$;

-- One look at the answer that a visitor is about to get: one round trip, its own transaction.
CREATE FUNCTION cached_answer(of_tenant uuid, of_chatbot uuid, of_label integer, in_scope bytea)
RETURNS TABLE (class_id uuid, content bytea, agreed integer, class_agreed integer, class_disagreed integer, lasts_s float8)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('chatwright.tenant_id', of_tenant::text, true);
    RETURN QUERY
    SELECT c.id, a.content, a.agreed, c.agreed, c.disagreed, extract(epoch FROM a.expires_at - now())::float8
      FROM cache_classes c
      JOIN cache_answers a ON a.tenant_id = of_tenant AND a.class_id = c.id AND a.scope_digest = in_scope
     WHERE c.tenant_id = of_tenant AND c.chatbot_id = of_chatbot AND c.label = of_label AND a.expires_at > now();
END
$$;
