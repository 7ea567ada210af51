//! Finds and reads the settings: the one place that touches the environment and the config file.

use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

use crate::cli::exit::{Exit, Stop};
use crate::config::Config;
use crate::config::load::{self, Sources};
use crate::span::chain;

/// Reads flags, environment, `.env` of the working folder, and the config file, and makes sure that the data
/// folder exists.
///
/// # Errors
/// One line that names the setting, file or folder and what to do.
pub fn config(flags: Vec<(&'static str, String)>, file: Option<&str>) -> Result<Config, Stop> {
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .collect();
    let dotenv = read_dotenv(Path::new(".env"))?;
    let mut sources = Sources { file: None, dotenv, environment, flags };
    // The data folder may itself be a setting; it is needed to find the config file, which may not move it.
    let data_dir = data_dir(&sources)?;
    sources.file = read_file(file, &data_dir)?;
    let mut config = load::load(&sources).map_err(|e| Stop::because(Exit::Config, &e))?;
    if config.data_dir.as_os_str().is_empty() {
        config.data_dir = data_dir;
    }
    std::fs::create_dir_all(&config.data_dir).map_err(|e| {
        Stop::new(
            Exit::Data,
            format!(
                "the data folder {} cannot be made ({e}); choose another with --data-dir",
                config.data_dir.display()
            ),
        )
    })?;
    Ok(config)
}

fn data_dir(sources: &Sources) -> Result<PathBuf, Stop> {
    let given = sources.flags.iter().find(|(k, _)| *k == "data_dir").map(|(_, v)| v).or_else(|| {
        [&sources.environment, &sources.dotenv]
            .into_iter()
            .find_map(|vars| vars.iter().find(|(k, v)| k == "FRETCOACH_DATA_DIR" && !v.trim().is_empty()))
            .map(|(_, v)| v)
    });
    if let Some(dir) = given {
        // `--data-dir "$UNSET"` must not fill the working folder.
        if dir.trim().is_empty() {
            return Err(Stop::new(Exit::Config, "--data-dir is empty: name a folder"));
        }
        return Ok(PathBuf::from(dir));
    }
    let strategy = etcetera::choose_base_strategy().map_err(|e| {
        Stop::new(Exit::Data, format!("no home folder was found ({e}); name a data folder with --data-dir"))
    })?;
    Ok(strategy.data_dir().join("fretcoach"))
}

fn read_file(named: Option<&str>, data_dir: &Path) -> Result<Option<(PathBuf, String)>, Stop> {
    let path = named.map_or_else(|| data_dir.join("config.toml"), PathBuf::from);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && named.is_none() => Ok(None),
        // The data folder itself is a file or lies below one: said again, more clearly, when it is made.
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory && named.is_none() => Ok(None),
        Err(e) => {
            Err(Stop::new(Exit::Config, format!("{}: the config file cannot be read ({e})", path.display())))
        }
    }
}

fn read_dotenv(path: &Path) -> Result<Vec<(String, String)>, Stop> {
    let wrong = |e: &dotenvy::Error| {
        Stop::new(Exit::Config, format!("{}: not a valid .env file ({})", path.display(), said(e)))
    };
    match dotenvy::from_path_iter(path) {
        Ok(lines) => lines.collect::<Result<_, _>>().map_err(|e| wrong(&e)),
        Err(e) if e.not_found() => Ok(Vec::new()),
        Err(e) => Err(wrong(&e)),
    }
}

/// What is wrong with a `.env` file, without the line itself: it may hold a key.
fn said(error: &dotenvy::Error) -> String {
    match error {
        dotenvy::Error::LineParse(_, at) => {
            format!("a line is not NAME=value, at its character {at}")
        }
        other => chain(other),
    }
}
