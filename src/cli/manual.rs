//! What a package carries beside the program: the manual page and completions for shells, both made from the command
//! line itself.

use clap::ArgMatches;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::exit::{CODES, Exit, Stop};
use super::{args, print, unprinted};
use crate::config::settings::SETTINGS;

/// `fretcoach completions SHELL`.
///
/// # Errors
/// The text cannot be printed.
pub fn completions(matches: &ArgMatches) -> Result<Exit, Stop> {
    let shell = *matches.get_one::<Shell>("shell").expect("clap requires the shell");
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "fretcoach", &mut text);
    print(&String::from_utf8_lossy(&text))?;
    Ok(Exit::Ok)
}

/// `fretcoach man`: one page with every command, setting and exit code.
///
/// # Errors
/// The text cannot be printed.
pub fn page() -> Result<Exit, Stop> {
    let page = manual().map_err(|e| unprinted(&e))?;
    print(&String::from_utf8_lossy(&page))?;
    Ok(Exit::Ok)
}

/// The manual page as roff.
fn manual() -> std::io::Result<Vec<u8>> {
    let mut command = args::command().after_help("");
    command.build();
    let mut page = Vec::new();
    let man = Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    roff.to_writer(&mut page)?;
    for sub in command.get_subcommands().filter(|c| c.get_name() != "help") {
        let mut roff = Roff::new();
        roff.control("SS", [format!("fretcoach {}", sub.get_name()).as_str()]);
        roff.text([roman(sub.get_about().map(ToString::to_string).unwrap_or_default())]);
        for arg in sub.get_arguments().filter(|a| !a.is_global_set() && a.get_id() != "help") {
            roff.control("TP", []);
            roff.text([roman(arg.to_string())]);
            roff.text([roman(arg.get_help().map(ToString::to_string).unwrap_or_default())]);
        }
        roff.to_writer(&mut page)?;
    }
    let mut roff = Roff::new();
    roff.control("SH", ["ENVIRONMENT"]);
    roff.text([roman(
        "Each setting can also stand in config.toml of the data folder, under the name in brackets.",
    )]);
    for setting in SETTINGS {
        roff.control("TP", []);
        roff.text([roman(format!("{} [{}]", setting.env, setting.key))]);
        roff.text([roman(setting.doc)]);
    }
    roff.control("SH", ["EXIT STATUS"]);
    for (code, name, meaning) in CODES {
        roff.control("TP", []);
        roff.text([roman((code as u8).to_string())]);
        roff.text([roman(format!("{name}: {meaning}"))]);
    }
    roff.to_writer(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_names_every_command_setting_and_exit_code() {
        let page = String::from_utf8(manual().unwrap()).unwrap().replace("\\-", "-");
        for sub in args::command().get_subcommands() {
            assert!(page.contains(&format!("fretcoach {}", sub.get_name())), "{} is missing", sub.get_name());
        }
        for setting in SETTINGS {
            assert!(page.contains(setting.env), "{} is missing", setting.env);
        }
        for (code, name, _) in CODES {
            assert!(page.contains(&format!("{}\n{name}: ", code as u8)), "{name} is missing");
        }
    }
}
