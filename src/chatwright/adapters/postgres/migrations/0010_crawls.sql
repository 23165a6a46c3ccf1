-- Visits of whole sites: what was asked for, and each page with what became of it. The waiting pages are the frontier,
-- so that a crawl goes on where it was whatever happens to its worker.

CREATE TABLE crawls (
    id                uuid PRIMARY KEY,
    tenant_id         uuid NOT NULL,
    knowledge_base_id uuid NOT NULL,
    kind              text NOT NULL CHECK (kind IN ('sitemap', 'site')),
    url               text NOT NULL,
    max_pages         integer NOT NULL CHECK (max_pages > 0),
    state             text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    error             text,
    is_listed         boolean NOT NULL DEFAULT false,          -- the sitemaps were read, or the first page stands in the list
    is_cut            boolean NOT NULL DEFAULT false,          -- there were more pages than max_pages
    leg               integer NOT NULL DEFAULT 0,              -- fencing token: raised by each job that takes the crawl up
    created_at        timestamptz NOT NULL DEFAULT now(),
    finished_at       timestamptz,
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, knowledge_base_id) REFERENCES knowledge_bases (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX crawls_knowledge_base ON crawls (tenant_id, knowledge_base_id, id);

CREATE TABLE crawl_pages (
    tenant_id   uuid NOT NULL,
    crawl_id    uuid NOT NULL,
    ordinal     integer NOT NULL,                              -- from 1, in the order in which they were found
    url         text NOT NULL,
    state       text NOT NULL DEFAULT 'waiting' CHECK (state IN
        ('waiting', 'added', 'replaced', 'unchanged', 'skipped', 'failed')),
    error       text,                                          -- why it was skipped or failed
    document_id uuid,                                          -- may have been deleted since
    visited_at  timestamptz,
    PRIMARY KEY (tenant_id, crawl_id, ordinal),
    UNIQUE (tenant_id, crawl_id, url),
    FOREIGN KEY (tenant_id, crawl_id) REFERENCES crawls (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX crawl_pages_waiting ON crawl_pages (tenant_id, crawl_id, ordinal) WHERE state = 'waiting';

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['crawls', 'crawl_pages'] LOOP
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
