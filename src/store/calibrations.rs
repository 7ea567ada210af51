//! How long sound takes from the output to the input, by pair of devices.

use jiff::Timestamp;

use super::{Row, Store, StoreError, micros, moment, sql};

/// Two devices as they were opened: the round trip belongs to all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevicePair {
    /// `pulseaudio` or `alsa`.
    pub host: String,
    /// Name of the input.
    pub input: String,
    /// Its rate, Hz.
    pub input_rate: u32,
    /// The period asked of it, frames.
    pub input_period: u32,
    /// Name of the output.
    pub output: String,
    /// Its rate, Hz.
    pub output_rate: u32,
    /// Its period, frames.
    pub output_period: u32,
}

impl DevicePair {
    /// True for the same devices, at whatever rates and periods.
    #[must_use]
    pub fn same_devices(&self, other: &Self) -> bool {
        (&self.host, &self.input, &self.output) == (&other.host, &other.input, &other.output)
    }
}

/// A measured round trip.
#[derive(Clone, Debug, PartialEq)]
pub struct CalibrationRow {
    /// Of which devices.
    pub pair: DevicePair,
    /// From handed to the output to captured, ms.
    pub round_trip_ms: f64,
    /// Median absolute deviation of a click, ms.
    pub spread_ms: f64,
    /// Clicks that it rests on.
    pub clicks: u32,
    /// `loopback` (heard) or `tap` (played along: the player's habit is in it).
    pub method: String,
    /// When.
    pub measured_at: Timestamp,
}

impl Store {
    /// Keeps a round trip, in place of an older one of the same pair.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn put_calibration(&self, row: &CalibrationRow) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        sql(
            "INSERT INTO calibrations (host, input, input_rate, input_period, output, output_rate, output_period, \
             round_trip_ms, spread_ms, clicks, method, measured_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
             ON CONFLICT (host, input, input_rate, input_period, output, output_rate, output_period) DO UPDATE SET \
             round_trip_ms = excluded.round_trip_ms, spread_ms = excluded.spread_ms, clicks = excluded.clicks, \
             method = excluded.method, measured_at = excluded.measured_at",
        )
        .bind(&row.pair.host)
        .bind(&row.pair.input)
        .bind(i64::from(row.pair.input_rate))
        .bind(i64::from(row.pair.input_period))
        .bind(&row.pair.output)
        .bind(i64::from(row.pair.output_rate))
        .bind(i64::from(row.pair.output_period))
        .bind(row.round_trip_ms)
        .bind(row.spread_ms)
        .bind(i64::from(row.clicks))
        .bind(&row.method)
        .bind(micros(row.measured_at))
        .execute(&mut tx).await?;
        tx.commit().await
    }

    /// Every round trip that was measured, latest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn calibrations(&self) -> Result<Vec<CalibrationRow>, StoreError> {
        let rows = sql("SELECT * FROM calibrations ORDER BY measured_at DESC").all(self.reader()).await?;
        rows.iter().map(|row| read(row).map_err(|e| self.failed(e))).collect()
    }
}

fn read(row: &Row) -> Result<CalibrationRow, sqlx::Error> {
    let number = |column: &str| row.get::<i64>(column).map(|n| u32::try_from(n).unwrap_or(0));
    Ok(CalibrationRow {
        pair: DevicePair {
            host: row.get("host")?,
            input: row.get("input")?,
            input_rate: number("input_rate")?,
            input_period: number("input_period")?,
            output: row.get("output")?,
            output_rate: number("output_rate")?,
            output_period: number("output_period")?,
        },
        round_trip_ms: row.get("round_trip_ms")?,
        spread_ms: row.get("spread_ms")?,
        clicks: number("clicks")?,
        method: row.get("method")?,
        measured_at: moment(row.get("measured_at")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_latest_of_a_pair_is_kept() {
        let store = Store::memory().await.unwrap();
        assert_eq!(store.calibrations().await.unwrap(), []);
        let pair = DevicePair {
            host: "pulseaudio".into(),
            input: "Guitar".into(),
            input_rate: 48_000,
            input_period: 1024,
            output: "Speakers".into(),
            output_rate: 44_100,
            output_period: 2048,
        };
        let at = |s| Timestamp::from_second(s).unwrap();
        let row = CalibrationRow {
            pair: pair.clone(),
            round_trip_ms: 83.25,
            spread_ms: 0.1,
            clicks: 20,
            method: "loopback".into(),
            measured_at: at(1_000),
        };
        store.put_calibration(&row).await.unwrap();
        let again = CalibrationRow {
            round_trip_ms: 90.0,
            method: "tap".into(),
            measured_at: at(2_000),
            ..row.clone()
        };
        store.put_calibration(&again).await.unwrap();
        let other = CalibrationRow {
            pair: DevicePair { output_period: 4096, ..pair },
            measured_at: at(1_500),
            ..row
        };
        store.put_calibration(&other).await.unwrap();
        assert!(again.pair.same_devices(&other.pair));
        assert_eq!(store.calibrations().await.unwrap(), [again, other]);
    }
}
