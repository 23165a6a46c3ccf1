-- Rate limits of single API keys: {"requests_per_minute", "tokens_per_minute", "concurrency"}; what is not named is not limited.

ALTER TABLE api_keys ADD COLUMN limits jsonb NOT NULL DEFAULT '{}';
