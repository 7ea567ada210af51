-- Where in the beat a note was meant to fall (0..1), and why it was marked wrong: what kind of mistake, and by how
-- much (cents or ms), or the MIDI number of the nearest note of the scale.

ALTER TABLE notes ADD COLUMN place DOUBLE PRECISION;
ALTER TABLE notes ADD COLUMN reason TEXT;
ALTER TABLE notes ADD COLUMN reason_value DOUBLE PRECISION;
