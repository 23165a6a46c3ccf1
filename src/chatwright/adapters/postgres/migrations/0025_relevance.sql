-- A chatbot's own relevance below which a passage is no source; null: as the platform says.
ALTER TABLE chatbots ADD COLUMN relevance_threshold double precision CHECK (relevance_threshold BETWEEN 0 AND 1);
