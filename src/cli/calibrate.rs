//! `fretcoach calibrate`: measures and keeps the round trip between the loudspeakers and the guitar's input.

use std::io::{IsTerminal, Write};

use jiff::Timestamp;
use serde_json::json;

use super::exit::{Exit, Stop};
use crate::app::calibrate::{self, Calibration};
use crate::app::chatter::Diverted;
use crate::app::practice::start_telemetry;
use crate::config::Config;
use crate::names::{attr, op, tag};
use crate::span::{Kind, SpanExt, Thread};
use crate::store::{CalibrationRow, CaptureLock, LockError, Store};
use crate::telemetry::LOG_FILE;

/// Measures, keeps, prints. With `tap` the player strikes along.
///
/// # Errors
/// One line that says what could not be measured, and what to do.
pub async fn run(config: Config, tap: bool, as_json: bool) -> Result<Exit, Stop> {
    let _lock = CaptureLock::acquire(&config.data_dir).map_err(|e| {
        let exit = if matches!(e, LockError::Held { .. }) { Exit::Busy } else { Exit::Data };
        Stop::because(exit, &e)
    })?;
    let store = Store::open_in(&config.data_dir).await.map_err(|e| Stop::because(Exit::Data, &e))?;
    let telemetry = start_telemetry(&config, store.clone()).await?;
    let outcome = {
        let _chatter = Diverted::to(&config.data_dir.join(LOG_FILE));
        measure(&config, &store, tap, as_json).await
    };
    telemetry.shutdown(config.telemetry.flush_timeout).await;
    store.close().await;
    let (row, of) = outcome?;
    if as_json {
        let p = &row.pair;
        super::print(&format!(
            "{:#}\n",
            json!({"round_trip_ms": row.round_trip_ms, "spread_ms": row.spread_ms, "clicks": row.clicks, "of": of,
                "method": row.method, "host": p.host, "input": p.input, "input_rate": p.input_rate,
                "input_period": p.input_period, "output": p.output, "output_rate": p.output_rate,
                "output_period": p.output_period})
        ))?;
    } else {
        super::print(&text(&row, of))?;
    }
    Ok(Exit::Ok)
}

async fn measure(
    config: &Config,
    store: &Store,
    tap: bool,
    as_json: bool,
) -> Result<(CalibrationRow, usize), Stop> {
    let tags = [tag::CORE, tag::CALIBRATION, config.deployment.as_str()].map(String::from).to_vec();
    let span = Thread::new("calibration", config.user.clone(), tags).root(op::CALIBRATION, Kind::Chain, &[]);
    let method = if tap { "tap" } else { "loopback" };
    span.put(attr::OPERATION, "invoke_workflow");
    span.put(attr::WORKFLOW, op::CALIBRATION);
    span.put(attr::ROUND_TRIP_SOURCE, method);
    if !as_json {
        let what = if tap {
            "Listen for a bar, then strike the muted strings once on every click."
        } else {
            "Clicks are played and listened for: leave the guitar alone."
        };
        super::print(&format!("{what}\n"))?;
    }
    let shown = !as_json && std::io::stdout().is_terminal();
    let measured = calibrate::run(config, tap, &mut |click, of| {
        if shown {
            print!("\rclick {click} of {of} ");
            let _ = std::io::stdout().flush(); // A terminal that is gone needs no count.
        }
    })
    .await;
    if shown {
        print!("\r{:30}\r", "");
    }
    let Calibration { pair, measured, of } = measured.inspect_err(|stop| {
        span.fail("calibration", stop);
    })?;
    let row = CalibrationRow {
        pair,
        round_trip_ms: 1000.0 * measured.delay,
        spread_ms: 1000.0 * measured.spread,
        clicks: u32::try_from(measured.count).unwrap_or(u32::MAX),
        method: method.into(),
        measured_at: Timestamp::now(),
    };
    span.put(attr::AUDIO_HOST, row.pair.host.clone());
    span.put(attr::AUDIO_INPUT, row.pair.input.clone());
    span.put(attr::AUDIO_OUTPUT, row.pair.output.clone());
    span.put(attr::AUDIO_RATE, i64::from(row.pair.input_rate));
    span.put(attr::AUDIO_PERIOD, i64::from(row.pair.input_period));
    span.put(attr::OUTPUT_PERIOD, i64::from(row.pair.output_period));
    span.put(attr::ROUND_TRIP_MS, row.round_trip_ms);
    span.put(attr::ROUND_TRIP_SPREAD_MS, row.spread_ms);
    span.put(attr::CLICKS, i64::from(row.clicks));
    store.put_calibration(&row).await.map_err(|e| Stop::because(Exit::Data, &e))?;
    Ok((row, of))
}

fn text(row: &CalibrationRow, of: usize) -> String {
    let (p, tap) = (&row.pair, row.method == "tap");
    let what = if tap { "strokes" } else { "clicks" };
    let mut text = format!(
        "Round trip {:.1} ms (spread {:.1} ms, {} of {of} {what}), from {} to {}.\n",
        row.round_trip_ms, row.spread_ms, row.clicks, p.output, p.input
    );
    if tap {
        text.push_str(
            "Your own habit of playing before or behind the click is in it: timing is then judged against that habit.\n",
        );
    }
    text.push_str("Kept for these two devices at these periods; `fretcoach practice --metronome` uses it.\n");
    text
}
