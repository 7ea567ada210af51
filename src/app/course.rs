//! How one session follows another: what a wish means in which phase, and what comes after a session. Pure.

use super::session::Command;
use crate::hub::link::{Control, Phase};

/// Who began a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The command line: the program is that session.
    ByCommandLine,
    /// The player, in the Hub or by a key.
    ByWish,
    /// The playing itself.
    ByPlaying,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The player stopped it, and the program goes on.
    Stopped,
    /// The player ends the program.
    Quit,
    /// Its time is up, or its recording is over.
    Over,
}

/// What comes after a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The program ends.
    Leave,
    /// It waits for the next.
    Wait {
        /// Playing may begin the next at once; else only after a rest: who has just stopped a session and plays on does
        /// not want another.
        armed: bool,
    },
}

/// What comes after a session that was begun and has ended like this.
#[must_use]
pub fn after(begun: Begun, why: Why) -> After {
    match (begun, why) {
        (_, Why::Quit) | (Begun::ByCommandLine, Why::Over) => After::Leave,
        (_, Why::Stopped | Why::Over) => After::Wait { armed: false },
    }
}

/// What is to be done about a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Begin a session.
    Begin,
    /// Begin one as soon as this one has ended, and end it without more words.
    BeginNext,
    /// Take the setup into use: at once while idle, else from the next session on.
    Use,
    /// The session is to see to it.
    Pass(Command),
    /// Nothing can be done; the player is told why.
    Refuse(&'static str),
}

/// What a wish means in a phase.
#[must_use]
pub fn reply(phase: Phase, wish: &Control) -> Reply {
    match (phase, wish) {
        (_, Control::Set { .. }) => Reply::Use,
        (_, Control::ToggleMute) => Reply::Pass(Command::ToggleMute),
        (Phase::Idle, Control::Start { .. }) => Reply::Begin,
        (Phase::Idle, _) => Reply::Refuse("no session is running"),
        (Phase::Closing, Control::Start { .. }) => Reply::BeginNext,
        (_, Control::Start { .. }) => Reply::Refuse("a session is running: stop it first"),
        // Its end is under way: what is left to stop is the voice.
        (Phase::Closing, Control::Stop | Control::StopVoice) => Reply::Pass(Command::StopVoice),
        (Phase::Closing, _) => Reply::Refuse("the session is being summed up"),
        (_, Control::Stop) => Reply::Pass(Command::Stop),
        (_, Control::TogglePause) => Reply::Pass(Command::TogglePause),
        (_, Control::ToggleClick) => Reply::Pass(Command::ToggleClick),
        (_, Control::StopVoice) => Reply::Pass(Command::StopVoice),
        (_, Control::AskNow) => Reply::Pass(Command::AskNow),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::link::Setup;

    const PHASES: [Phase; 4] = [Phase::Idle, Phase::Playing, Phase::Paused, Phase::Closing];

    fn start() -> Control {
        Control::Start { setup: None, plan: None, user: None }
    }

    #[test]
    fn a_session_is_begun_while_none_runs_and_stopped_while_one_does() {
        let of = |wish: &Control| PHASES.map(|phase| reply(phase, wish));
        let [idle, playing, paused, closing] = of(&start());
        assert_eq!((idle, closing), (Reply::Begin, Reply::BeginNext));
        assert!(matches!((playing, paused), (Reply::Refuse(_), Reply::Refuse(_))));
        let [idle, playing, paused, closing] = of(&Control::Stop);
        assert!(matches!(idle, Reply::Refuse(_)));
        assert_eq!((playing, paused), (Reply::Pass(Command::Stop), Reply::Pass(Command::Stop)));
        assert_eq!(closing, Reply::Pass(Command::StopVoice), "the end is under way already");
    }

    #[test]
    fn a_setup_is_taken_and_the_voice_muted_at_any_time() {
        for phase in PHASES {
            assert_eq!(reply(phase, &Control::Set { setup: Setup::default(), user: None }), Reply::Use);
            assert_eq!(reply(phase, &Control::ToggleMute), Reply::Pass(Command::ToggleMute));
        }
    }

    #[test]
    fn nothing_is_passed_to_a_session_that_is_not_there() {
        for wish in [Control::TogglePause, Control::ToggleClick, Control::StopVoice, Control::AskNow] {
            assert!(matches!(reply(Phase::Idle, &wish), Reply::Refuse(_)), "{wish:?}");
            assert!(matches!(reply(Phase::Playing, &wish), Reply::Pass(_)), "{wish:?}");
        }
    }

    #[test]
    fn the_program_is_the_session_of_the_command_line_unless_it_is_stopped_from_the_hub() {
        use Begun::{ByCommandLine, ByPlaying, ByWish};
        for begun in [ByCommandLine, ByWish, ByPlaying] {
            assert_eq!(after(begun, Why::Quit), After::Leave);
            assert_eq!(after(begun, Why::Stopped), After::Wait { armed: false });
        }
        assert_eq!(after(ByCommandLine, Why::Over), After::Leave);
        assert!(matches!(after(ByWish, Why::Over), After::Wait { .. }));
        assert!(matches!(after(ByPlaying, Why::Over), After::Wait { .. }));
    }
}
