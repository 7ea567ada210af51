//! Which sound devices exist, and which one is meant.
//!
//! Hosts: `auto` is PulseAudio (also PipeWire's) where it answers, else ALSA. A device is chosen by name, id or index;
//! what was chosen is then pinned by host and id, since "the default" may mean another device a second later.

use cpal::traits::{DeviceTrait, HostTrait};
use cpal::{BufferSize, SampleFormat, StreamConfig, SupportedBufferSize};

use crate::audio::AudioError;
use crate::audio::desk::{Bench, Desk};

/// Which way the sound goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Capture.
    Input,
    /// Playback.
    Output,
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Input => "input",
            Self::Output => "output",
        })
    }
}

/// A device that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceChoice {
    /// `auto`, `pulseaudio` or `alsa`.
    pub host: String,
    /// Name, unique part of a name, id (`guitar.monitor`, `alsa:hw:0,0`) or index; empty: the default device.
    pub name: String,
}

/// A device that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Position among the devices of its direction, from 0.
    pub index: usize,
    /// For people.
    pub name: String,
    /// Stays the same over restarts, as far as the host allows.
    pub id: String,
    /// `pulseaudio` or `alsa`.
    pub host: String,
    /// Input or output; a duplex device is listed twice.
    pub direction: Direction,
    /// The one that an empty choice means.
    pub default: bool,
    /// Lowest and highest sample rate, Hz.
    pub rates: (u32, u32),
    /// Rate it runs at by default, Hz.
    pub default_rate: u32,
    /// Channels it has by default.
    pub channels: u16,
    /// Sample formats, `f32`, `i16`, ….
    pub formats: Vec<String>,
}

/// Longest wait for a list of devices.
const LIST_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// Lists the devices of `host` (`auto`, `pulseaudio`, `alsa`), inputs first.
///
/// # Errors
/// [`AudioError::NoHost`] when no sound system answers, [`AudioError::Unresponsive`] when it hangs.
pub fn list(host: &str) -> Result<Vec<DeviceInfo>, AudioError> {
    let desk = Desk::start("audio-list")
        .map_err(|source| AudioError::Thread { what: "listing sound devices", source })?;
    let wanted = host.to_owned();
    let answer = desk.ask(move |bench| {
        let host = host_of(bench, &wanted)?;
        let mut all = devices(host, Direction::Input)?;
        all.extend(devices(host, Direction::Output)?);
        Ok(all)
    });
    answer.recv_timeout(LIST_TIMEOUT).unwrap_or_else(|_| {
        Err(AudioError::Unresponsive { device: "the devices".into(), seconds: LIST_TIMEOUT.as_secs_f64() })
    })
}

fn host_id(name: &str) -> Option<cpal::HostId> {
    cpal::ALL_HOSTS.iter().copied().find(|id| id.to_string().eq_ignore_ascii_case(name))
}

/// The bench's connection, made anew if there is none or it belongs to another host.
pub(crate) fn host_of<'a>(bench: &'a mut Bench, wanted: &str) -> Result<&'a cpal::Host, AudioError> {
    let wanted = wanted.trim();
    let auto = wanted.is_empty() || wanted.eq_ignore_ascii_case("auto");
    let fits = |host: &cpal::Host| auto || host.id().to_string().eq_ignore_ascii_case(wanted);
    if !bench.host.as_ref().is_some_and(fits) {
        bench.host = None;
        let names: &[&str] = if auto { &["pulseaudio", "alsa", "coreaudio", "wasapi"] } else { &[wanted] };
        let mut refused = Vec::new();
        for name in names {
            let Some(id) = host_id(name) else { continue };
            match cpal::host_from_id(id) {
                Ok(host) => {
                    bench.host = Some(host);
                    break;
                }
                Err(e) if auto => refused.push(format!("{name}: {e}")),
                Err(e) => refused.push(e.to_string()),
            }
        }
        if bench.host.is_none() && refused.is_empty() {
            let known: Vec<String> = cpal::ALL_HOSTS.iter().map(ToString::to_string).collect();
            refused.push(format!("this program knows {}", known.join(", ")));
        }
        if bench.host.is_none() {
            return Err(AudioError::NoHost { host: wanted.into(), message: refused.join("; ") });
        }
    }
    // Set just above if it was missing.
    bench.host.as_ref().ok_or_else(|| AudioError::NoHost { host: wanted.into(), message: "none".into() })
}

/// ALSA devices that are no sound card: they never block (a core would run at full speed) or only reshape
/// others, or try to reach a server that is not there and write about it to the terminal (JACK).
const NOT_A_CARD: [&str; 9] =
    ["null", "jack", "oss", "speex", "lavrate", "samplerate", "speexrate", "upmix", "vdownmix"];

/// All devices of one direction.
pub(crate) fn devices(host: &cpal::Host, direction: Direction) -> Result<Vec<DeviceInfo>, AudioError> {
    let name = host.id().to_string();
    let failed = |e: cpal::Error| AudioError::NoHost { host: name.clone(), message: e.to_string() };
    let default = match direction {
        Direction::Input => host.default_input_device(),
        Direction::Output => host.default_output_device(),
    };
    let default = default.and_then(|d| d.id().ok());
    let mut found: Vec<DeviceInfo> = Vec::new();
    for device in host.devices().map_err(failed)? {
        let Ok(id) = device.id() else { continue };
        if NOT_A_CARD.contains(&id.id()) {
            continue;
        }
        // A device that does not go in this direction, or cannot be opened now, has no configuration.
        let Ok(config) = default_config(&device, direction) else { continue };
        let mut rates = (config.sample_rate(), config.sample_rate());
        let mut formats: Vec<SampleFormat> = Vec::new();
        for range in ranges(&device, direction) {
            rates = (rates.0.min(range.min_sample_rate()), rates.1.max(range.max_sample_rate()));
            if !formats.contains(&range.sample_format()) {
                formats.push(range.sample_format());
            }
        }
        found.push(DeviceInfo {
            index: found.len(),
            name: device.to_string(),
            id: id.id().to_owned(),
            host: name.clone(),
            direction,
            default: default.as_ref() == Some(&id),
            rates,
            default_rate: config.sample_rate(),
            channels: config.channels(),
            formats: formats.iter().map(ToString::to_string).collect(),
        });
    }
    Ok(found)
}

fn default_config(
    device: &cpal::Device,
    direction: Direction,
) -> Result<cpal::SupportedStreamConfig, cpal::Error> {
    match direction {
        Direction::Input => device.default_input_config(),
        Direction::Output => device.default_output_config(),
    }
}

fn ranges(device: &cpal::Device, direction: Direction) -> Vec<cpal::SupportedStreamConfigRange> {
    match direction {
        Direction::Input => device.supported_input_configs().map(Iterator::collect),
        Direction::Output => device.supported_output_configs().map(Iterator::collect),
    }
    .unwrap_or_default()
}

/// Finds the device that `wanted` means: by id or exact name, by index, or by a part of the name that only one has.
/// Empty means the default device, else the first.
///
/// # Errors
/// [`AudioError::NoDevice`], which lists what exists.
pub fn choose<'a>(
    devices: &'a [DeviceInfo],
    direction: Direction,
    wanted: &str,
) -> Result<&'a DeviceInfo, AudioError> {
    let here: Vec<&DeviceInfo> = devices.iter().filter(|d| d.direction == direction).collect();
    let wanted = wanted.trim();
    if here.is_empty() {
        return Err(AudioError::NoDevice {
            what: format!("there is no {direction} device"),
            available: "plug in a sound card or check the sound system's settings".into(),
        });
    }
    if wanted.is_empty() {
        return Ok(here.iter().find(|d| d.default).unwrap_or(&here[0]));
    }
    let low = wanted.to_lowercase();
    let exact = here.iter().find(|d| {
        d.id.to_lowercase() == low
            || d.name.to_lowercase() == low
            || format!("{}:{}", d.host, d.id).to_lowercase() == low
    });
    if let Some(device) = exact {
        return Ok(device);
    }
    if let Ok(index) = wanted.parse::<usize>()
        && let Some(device) = here.iter().find(|d| d.index == index)
    {
        return Ok(device);
    }
    let partly: Vec<&&DeviceInfo> = here
        .iter()
        .filter(|d| d.name.to_lowercase().contains(&low) || d.id.to_lowercase().contains(&low))
        .collect();
    match partly.as_slice() {
        [one] => Ok(one),
        [] => Err(AudioError::NoDevice {
            what: format!("there is no {direction} device `{wanted}`"),
            available: format!("there are: {}", described(&here)),
        }),
        several => {
            let several: Vec<&DeviceInfo> = several.iter().map(|d| **d).collect();
            Err(AudioError::NoDevice {
                what: format!("`{wanted}` fits several {direction} devices"),
                available: format!("write more of the name, or the index: {}", described(&several)),
            })
        }
    }
}

fn described(devices: &[&DeviceInfo]) -> String {
    let all: Vec<String> =
        devices.iter().map(|d| format!("{} \"{}\" ({}:{})", d.index, d.name, d.host, d.id)).collect();
    all.join(", ")
}

/// A device that was chosen, and what to ask of it.
pub(crate) struct Chosen {
    pub device: cpal::Device,
    pub info: DeviceInfo,
    pub config: StreamConfig,
    pub format: SampleFormat,
}

/// Rate that is asked for when nothing else is said and the device has it: that of the analysis.
const PREFERRED_RATE: u32 = crate::audio::ANALYSIS_RATE;

/// Looks the device up and decides rate, format and period. `pinned`: the id that was used before, which wins over the
/// choice while it exists; `only_pinned`: nothing else will do.
pub(crate) fn select(
    bench: &mut Bench,
    direction: Direction,
    choice: &DeviceChoice,
    pinned: Option<&str>,
    only_pinned: bool,
    rate: u32,
    period: u32,
) -> Result<Chosen, AudioError> {
    let mut listed = host_of(bench, &choice.host).and_then(|host| devices(host, direction));
    if listed.is_err() {
        // A connection that died answers nothing any more: make another, once.
        bench.host = None;
        listed = host_of(bench, &choice.host).and_then(|host| devices(host, direction));
    }
    let listed = listed.inspect_err(|_| bench.host = None)?;
    let info = match pinned.and_then(|id| listed.iter().find(|d| d.id == id)) {
        Some(info) => info,
        None if only_pinned => {
            return Err(AudioError::NoDevice {
                what: format!("{} is not there", pinned.unwrap_or("the device")),
                available: "waiting for it".into(),
            });
        }
        None => choose(&listed, direction, &choice.name)?,
    }
    .clone();
    let host = host_of(bench, &choice.host)?;
    let missing = || AudioError::NoDevice {
        what: format!("{} has just gone", info.name),
        available: "try again".into(),
    };
    let device = host
        .devices()
        .ok()
        .and_then(|mut all| {
            all.find(|d| d.id().is_ok_and(|id| id.id() == info.id) && default_config(d, direction).is_ok())
        })
        .ok_or_else(missing)?;
    let asked =
        |source| AudioError::Device { device: info.name.clone(), action: "asked for its formats", source };
    let default = default_config(&device, direction).map_err(asked)?;
    let wanted_rate = if rate == 0 { PREFERRED_RATE } else { rate };
    let supported = ranges(&device, direction);
    let fits = |r: &&cpal::SupportedStreamConfigRange| {
        r.channels() == default.channels()
            && (r.min_sample_rate()..=r.max_sample_rate()).contains(&wanted_rate)
    };
    let (sample_rate, format) =
        if supported.iter().filter(fits).any(|r| r.sample_format() == default.sample_format()) {
            (wanted_rate, default.sample_format())
        } else if let Some(range) =
            supported.iter().filter(fits).max_by_key(|r| preference(r.sample_format()))
        {
            (wanted_rate, range.sample_format())
        } else if rate == 0 {
            (default.sample_rate(), default.sample_format())
        } else {
            return Err(AudioError::Format(format!(
                "{} cannot run at {rate} Hz; it offers {} to {} Hz",
                info.name, info.rates.0, info.rates.1
            )));
        };
    let period = match default.buffer_size() {
        SupportedBufferSize::Range { min, max } if min <= max => period.clamp(*min, *max),
        _ => period,
    };
    let config =
        StreamConfig { channels: default.channels(), sample_rate, buffer_size: BufferSize::Fixed(period) };
    Ok(Chosen { device, info, config, format })
}

fn preference(format: SampleFormat) -> u8 {
    match format {
        SampleFormat::F32 => 4,
        SampleFormat::I32 => 3,
        SampleFormat::I24 => 2,
        SampleFormat::I16 => 1,
        _ => 0,
    }
}

/// Is a device with this id still listed? `None` when the host does not answer.
pub(crate) fn listed(bench: &mut Bench, host: &str, direction: Direction, id: &str) -> Option<bool> {
    let host = host_of(bench, host).ok()?;
    let same = |d: cpal::Device| {
        d.id().is_ok_and(|found| found.id() == id)
            && match direction {
                Direction::Input => d.description().map_or(true, |d| d.supports_input()),
                Direction::Output => d.description().map_or(true, |d| d.supports_output()),
            }
    };
    match host.devices() {
        Ok(mut all) => Some(all.any(same)),
        Err(_) => {
            bench.host = None;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::AudioErrorKind;

    fn device(index: usize, name: &str, id: &str, direction: Direction, default: bool) -> DeviceInfo {
        DeviceInfo {
            index,
            name: name.into(),
            id: id.into(),
            host: "pulseaudio".into(),
            direction,
            default,
            rates: (8_000, 192_000),
            default_rate: 48_000,
            channels: 2,
            formats: vec!["f32".into()],
        }
    }

    fn some() -> Vec<DeviceInfo> {
        use Direction::{Input, Output};
        vec![
            device(0, "Built-in Audio Mono", "alsa_input.pci", Input, false),
            device(1, "Scarlett Solo USB", "alsa_input.usb-focusrite", Input, true),
            device(2, "Scarlett 2i2 USB", "alsa_input.usb-focusrite.2", Input, false),
            device(3, "Monitor of Guitar", "guitar.monitor", Input, false),
            device(0, "Guitar", "guitar", Output, true),
        ]
    }

    fn index(wanted: &str) -> usize {
        choose(&some(), Direction::Input, wanted).unwrap().index
    }

    #[test]
    fn by_name_id_index_or_a_unique_part_in_any_case() {
        assert_eq!(index(""), 1, "the default");
        assert_eq!(index("scarlett SOLO usb"), 1);
        assert_eq!(index("guitar.monitor"), 3);
        assert_eq!(index("pulseaudio:guitar.monitor"), 3);
        assert_eq!(index("2"), 2);
        assert_eq!(index("2i2"), 2);
        assert_eq!(index(" built-in "), 0);
        assert_eq!(index("alsa_input.usb-focusrite"), 1, "exact wins over being a part of another");
        assert_eq!(choose(&some(), Direction::Output, "guitar").unwrap().id, "guitar");
    }

    #[test]
    fn what_is_missing_or_ambiguous_lists_what_there_is() {
        let error = choose(&some(), Direction::Input, "Behringer").unwrap_err();
        assert_eq!(error.kind(), AudioErrorKind::MissingDevice);
        let text = error.to_string();
        for part in ["Behringer", "Scarlett Solo USB", "guitar.monitor", "0 \"Built-in"] {
            assert!(text.contains(part), "{text}");
        }
        let text = choose(&some(), Direction::Input, "scarlett").unwrap_err().to_string();
        assert!(text.contains("several") && text.contains("2i2") && !text.contains("Built-in"), "{text}");
        let text = choose(&some(), Direction::Input, "9").unwrap_err().to_string();
        assert!(text.contains("`9`"), "{text}");
        let error = choose(&[], Direction::Output, "").unwrap_err();
        assert_eq!(error.kind(), AudioErrorKind::MissingDevice);
    }

    #[test]
    fn an_unknown_host_names_the_known_ones() {
        let error = host_of(&mut Bench::default(), "jackdaw").map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), AudioErrorKind::NoHost);
        let text = error.to_string();
        assert!(text.contains("jackdaw") && text.contains("alsa"), "{text}");
    }
}
