//! `fretcoach devices`: which sound devices exist.

use std::fmt::Write;

use serde_json::json;

use super::exit::{Exit, Stop};
use crate::app::chatter::Diverted;
use crate::audio::device::{self, DeviceInfo, Direction};
use crate::config::Config;

/// Lists the devices.
///
/// # Errors
/// No sound system answers.
pub fn run(config: &Config, as_json: bool) -> Result<Exit, Stop> {
    let listed = {
        let _chatter = Diverted::nowhere();
        device::list(&config.audio.host)
    };
    let devices = listed.map_err(|e| Stop::because(Exit::Input, &e))?;
    if as_json {
        let rows: Vec<_> = devices
            .iter()
            .map(|d| {
                json!({"index": d.index, "name": d.name, "id": d.id, "host": d.host,
                    "direction": d.direction.to_string(), "default": d.default, "rates": [d.rates.0, d.rates.1],
                    "default_rate": d.default_rate, "channels": d.channels, "formats": d.formats})
            })
            .collect();
        super::print(&format!("{:#}\n", json!({"devices": rows})))?;
    } else {
        super::print(&text(&devices))?;
    }
    Ok(Exit::Ok)
}

fn text(devices: &[DeviceInfo]) -> String {
    let mut out = String::new();
    for (direction, flag) in [(Direction::Input, "--input"), (Direction::Output, "--output")] {
        let of: Vec<_> = devices.iter().filter(|d| d.direction == direction).collect();
        if of.is_empty() {
            let _ = writeln!(out, "No {direction} devices.");
            continue;
        }
        let _ = writeln!(out, "{direction} devices (choose with {flag} NUMBER or NAME; * is the default):");
        for d in of {
            let _ = writeln!(
                out,
                " {}{:>2}  {}  [{}: {}; {} Hz, {} channel{}]",
                if d.default { "*" } else { " " },
                d.index,
                d.name,
                d.host,
                d.id,
                d.default_rate,
                d.channels,
                if d.channels == 1 { "" } else { "s" }
            );
        }
    }
    out
}
