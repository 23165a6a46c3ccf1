-- How a chatbot's widget looks, and what visitors say of its answers.

ALTER TABLE chatbots ADD COLUMN widget jsonb NOT NULL DEFAULT '{}';

-- One word of a visitor on one answer. Its latest word stands; a word taken back leaves a row without a rating, so that the
-- same answer is held against the caches once only.
CREATE TABLE feedback (
    id              uuid PRIMARY KEY,
    tenant_id       uuid NOT NULL,
    chatbot_id      uuid NOT NULL,
    conversation_id uuid NOT NULL,
    message_id      uuid NOT NULL,
    answer_id       uuid NOT NULL,
    visitor_id      text NOT NULL,
    rating          text CHECK (rating IN ('up', 'down')),
    comment         text NOT NULL DEFAULT '' CHECK (length(comment) <= 2000),
    noted           boolean NOT NULL DEFAULT false,     -- the caches have heard of it
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, message_id, visitor_id),
    FOREIGN KEY (tenant_id, message_id) REFERENCES messages (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, chatbot_id) REFERENCES chatbots (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX feedback_tenant ON feedback (tenant_id, id) WHERE rating IS NOT NULL;
CREATE INDEX feedback_chatbot ON feedback (tenant_id, chatbot_id, id) WHERE rating IS NOT NULL;

ALTER TABLE feedback ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_only ON feedback FOR ALL TO chatwright_app
    USING (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid))
    WITH CHECK (tenant_id = (SELECT nullif(current_setting('chatwright.tenant_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE, DELETE ON feedback TO chatwright_app;
