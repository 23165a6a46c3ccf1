-- Work under way for the knowledge, found by its tenant when a document or a base is deleted. What the payload names is looked
-- at row by row: under row-level security no index over it would be used.
CREATE INDEX jobs_knowledge ON jobs (tenant_id)
 WHERE state IN ('queued', 'running') AND type IN ('document_index', 'knowledge_reembed');

-- Whoever tells the caches of a thumb down holds the row meanwhile; `noted` is set when they have heard of it. A process that
-- dies, or cannot say that it failed, holds it until then only.
ALTER TABLE feedback ADD COLUMN telling_until timestamptz;

-- Sums of a month are asked for by the time.
CREATE INDEX feedback_time ON feedback (tenant_id, created_at) WHERE rating IS NOT NULL;
