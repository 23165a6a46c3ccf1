-- Whether a chatbot with knowledge answers from it alone, or may fall back on what its model knows.
ALTER TABLE chatbots ADD COLUMN answer_policy text NOT NULL DEFAULT 'sources_only'
    CHECK (answer_policy IN ('sources_only', 'sources_first'));
