-- How a chatbot speaks, who reads its visitors, what it suggests, and how long it waits for the next message of a burst.

ALTER TABLE chatbots
    ADD COLUMN persona jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN reading_policy jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN suggestion_policy jsonb NOT NULL DEFAULT '{}',
    -- Milliseconds; 0: each message is answered by itself.
    ADD COLUMN burst_window_ms integer NOT NULL DEFAULT 0 CHECK (burst_window_ms BETWEEN 0 AND 10000);
