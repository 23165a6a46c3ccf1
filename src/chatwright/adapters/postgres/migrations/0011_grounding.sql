-- How much of an answer stands in its sources, 0..1; null: nothing measured it.
ALTER TABLE answers ADD COLUMN grounding double precision;
