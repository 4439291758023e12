-- Ids below a million are left to dictionaries shipped with the code; an id stands in a zstd frame as 32 bits.
CREATE SEQUENCE dictionary_ids AS integer MINVALUE 1000000;

ALTER TABLE dictionaries ADD COLUMN trained_ratio double precision NOT NULL CHECK (trained_ratio > 0);
COMMENT ON COLUMN dictionaries.trained_ratio IS 'Raw bytes for each byte on messages held back from training; a batch far below it asks for a new generation.';

-- Two hand-overs that train at once make two dictionaries of one generation; both stay readable.
ALTER TABLE dictionaries DROP CONSTRAINT dictionaries_tenant_id_generation_key;
CREATE INDEX dictionaries_newest ON dictionaries (tenant_id, generation);
