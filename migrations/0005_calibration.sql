-- How long sound takes from the output to the input, for each pair of devices as they were opened.
-- A landed migration is never edited: add the next one.

CREATE TABLE calibrations (
    host             TEXT NOT NULL,
    input            TEXT NOT NULL,
    input_rate       BIGINT NOT NULL,
    -- As asked for: devices deliver what they like, about this much.
    input_period     BIGINT NOT NULL,
    output           TEXT NOT NULL,
    output_rate      BIGINT NOT NULL,
    output_period    BIGINT NOT NULL,
    round_trip_ms    DOUBLE PRECISION NOT NULL,
    -- Median absolute deviation of a click.
    spread_ms        DOUBLE PRECISION NOT NULL,
    clicks           BIGINT NOT NULL,
    -- loopback or tap
    method           TEXT NOT NULL,
    measured_at      BIGINT NOT NULL,
    PRIMARY KEY (host, input, input_rate, input_period, output, output_rate, output_period)
);
