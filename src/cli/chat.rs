//! `fretcoach chat`: questions about the own practice, in the terminal.
//!
//! `--format json` is stable: fields are added, never renamed or removed. `--list` prints `{"chats": [{"id", "title",
//! "created_at", "updated_at"}]}`; a question prints `{"chat", "seq", "text", "detail", "trace_id"}`.

use std::io::{BufRead, IsTerminal, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use tokio::sync::mpsc;

use super::exit::{Exit, Stop, complain};
use super::history::Format;
use super::print;
use super::table::{self, Column};
use crate::app::practice::start_telemetry;
use crate::chat::{ChatError, Coach, Event, From, Question, Standing, Turn, plain};
use crate::config::Config;
use crate::store::{self, ChatId, Store, StoreError};

/// A thread that was left this long ago is continued only when it is named.
const CONTINUED_WITHIN_MIN: i64 = 60;
/// Threads listed.
const LISTED: u32 = 30;

/// What is asked, and in which thread.
#[derive(Clone, Debug, clap::Args)]
pub struct ChatArgs {
    /// the question; without one it is a conversation, a question a line
    pub question: Option<String>,
    /// begin a new thread (a thread of the last hour is continued otherwise)
    #[arg(long, conflicts_with = "thread")]
    pub new: bool,
    /// continue this thread: its id, the start of the id, or latest
    #[arg(long, value_name = "ID")]
    pub thread: Option<String>,
    /// list the threads
    #[arg(long, conflicts_with_all = ["question", "new", "thread"])]
    pub list: bool,
    /// show the queries that an answer rests on
    #[arg(long)]
    pub sql: bool,
    /// how to print: text, or json for programs
    #[arg(long, value_enum, default_value_t, hide_possible_values = true)]
    pub format: Format,
}

/// Runs the command.
///
/// # Errors
/// One line that says what could not be done, and what to do.
pub async fn run(config: Config, args: ChatArgs) -> Result<Exit, Stop> {
    let data = |e: StoreError| {
        let exit = if matches!(e, StoreError::NotFound { .. }) { Exit::NotFound } else { Exit::Data };
        Stop::because(exit, &e)
    };
    let local = Store::open_in(&config.data_dir).await.map_err(data)?;
    let (store, remark) =
        store::open_shared_or_local(config.database_url.reveal(), &config.data_dir).await.map_err(data)?;
    if let Some(remark) = remark {
        complain(remark);
    }
    if args.list {
        return list(&config, &store, args.format).await.map_err(data);
    }
    let telemetry = start_telemetry(&config, local.clone()).await?;
    let outcome = async {
        let coach = Coach::new(&config, store.clone()).map_err(|e| Stop::new(Exit::Config, e))?;
        let chat = thread(&config, &store, &args).await.map_err(data)?;
        match &args.question {
            Some(question) => {
                ask(&coach, &config.user, chat, question, &args).await.map(drop).map_err(stop)?;
                Ok(Exit::Ok)
            }
            None => converse(&coach, &config.user, chat, &args).await,
        }
    }
    .await;
    telemetry.shutdown(config.telemetry.flush_timeout).await;
    store.close().await;
    local.close().await;
    outcome
}

fn stop(error: ChatError) -> Stop {
    let exit = match &error {
        ChatError::Empty | ChatError::TooLong(_) => Exit::Usage,
        ChatError::Busy { .. } => Exit::Busy,
        ChatError::Store(_) => Exit::Data,
    };
    Stop::because(exit, &error)
}

/// The thread to go on with.
async fn thread(config: &Config, store: &Store, args: &ChatArgs) -> Result<Option<ChatId>, StoreError> {
    if let Some(id) = &args.thread {
        return Ok(Some(store.find_chat(&config.user, id).await?.id));
    }
    if args.new {
        return Ok(None);
    }
    let latest = store.chats(&config.user, 1).await?.into_iter().next();
    let recent = |at: Timestamp| Timestamp::now().duration_since(at).as_mins() < CONTINUED_WITHIN_MIN;
    Ok(latest.filter(|c| recent(c.updated_at)).map(|c| c.id))
}

async fn list(config: &Config, store: &Store, format: Format) -> Result<Exit, StoreError> {
    let chats = store.chats(&config.user, LISTED).await?;
    let text = if format == Format::Json {
        let all: Vec<_> = chats
            .iter()
            .map(|c| {
                json!({ "id": c.id, "title": c.title, "created_at": c.created_at.to_string(),
                    "updated_at": c.updated_at.to_string() })
            })
            .collect();
        format!("{:#}\n", json!({ "chats": all }))
    } else if chats.is_empty() {
        "No chats yet. Ask something: fretcoach chat \"What should I practise next?\"\n".to_owned()
    } else {
        let rows: Vec<Vec<String>> = chats
            .iter()
            .map(|c| {
                let at = c.updated_at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string();
                vec![c.id.short(), at, c.title.clone()]
            })
            .collect();
        table::render(&[Column::left("thread"), Column::left("last"), Column::left("question")], &rows)
    };
    // A reader that has seen enough is no error, and there is nothing else to lose.
    let _ = print(&text);
    Ok(Exit::Ok)
}

/// A question a line until the end of the input.
async fn converse(
    coach: &Coach,
    user: &str,
    mut chat: Option<ChatId>,
    args: &ChatArgs,
) -> Result<Exit, Stop> {
    let prompted = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if prompted {
        print(&greeting(coach, chat.is_some()))?;
    }
    loop {
        if prompted {
            print("\nyou> ")?;
        }
        let line = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map(|n| (n > 0).then_some(line))
        });
        let line = line.await.ok().and_then(Result::ok).flatten();
        let Some(line) = line else { break };
        let line = line.trim();
        match line {
            "" => continue,
            "/quit" | "/exit" | "exit" | "quit" => break,
            "/new" => {
                chat = None;
                continue;
            }
            _ => {}
        }
        let question = numbered(line).unwrap_or(line);
        match ask(coach, user, chat, question, args).await {
            Ok(turn) => chat = Some(turn.chat),
            Err(error @ ChatError::Store(_)) => return Err(stop(error)),
            Err(error) => complain(error),
        }
    }
    Ok(Exit::Ok)
}

/// `3` stands for the third standing question.
fn numbered(line: &str) -> Option<&'static str> {
    let n: usize = line.trim_end_matches('.').parse().ok()?;
    Standing::ALL.get(n.checked_sub(1)?).map(|s| s.question())
}

fn greeting(coach: &Coach, continued: bool) -> String {
    let mut text = String::from("Ask about your practice. ");
    text.push_str(if coach.has_model() {
        "For example, by number:\n"
    } else {
        "No language model is set up (OPENAI_API_KEY or OPENAI_BASE_URL), so these questions are answered, by number:\n"
    });
    for (n, standing) in Standing::ALL.iter().enumerate() {
        text.push_str(&format!("  {}. {}\n", n + 1, standing.question()));
    }
    text.push_str("/new begins another thread, Ctrl-D ends.\n");
    if continued {
        text.push_str("This goes on with your last thread.\n");
    }
    text
}

/// One question: its answer is printed paragraph by paragraph as it comes.
async fn ask(
    coach: &Coach,
    user: &str,
    chat: Option<ChatId>,
    question: &str,
    args: &ChatArgs,
) -> Result<Turn, ChatError> {
    let (sender, events) = mpsc::unbounded_channel();
    let question = Question { user, chat, text: question, from: From::Terminal };
    if args.format == Format::Json {
        let turn = coach.turn(question, sender).await?;
        let value = json!({ "chat": turn.chat, "seq": turn.seq, "text": turn.text, "detail": turn.detail,
            "trace_id": turn.trace_id });
        let _ = print(&format!("{value:#}\n"));
        return Ok(turn);
    }
    let (turn, ()) = tokio::join!(coach.turn(question, sender), show(events));
    let turn = turn?;
    let _ = print(&below(&turn, args.sql));
    Ok(turn)
}

/// Prints the answer as it comes. On a terminal a line says what is being done meanwhile.
async fn show(mut events: mpsc::UnboundedReceiver<Event>) {
    let terminal = std::io::stdout().is_terminal();
    let clear = |out: &mut dyn Write| {
        if terminal {
            let _ = write!(out, "\r\x1b[K");
        }
    };
    // Whole blocks are printed: a table can be put in line only when all of it is there.
    let (mut waiting, mut printed) = (String::new(), false);
    while let Some(event) = events.recv().await {
        let mut out = std::io::stdout().lock();
        match event {
            Event::Thread { .. } => {}
            Event::Step { text } => {
                if terminal {
                    clear(&mut out);
                    let _ = write!(out, "({text} …)");
                }
            }
            Event::Text { text } => {
                waiting.push_str(&text);
                if let Some(end) = waiting.rfind("\n\n") {
                    let rest = waiting.split_off(end + 2);
                    clear(&mut out);
                    let _ = writeln!(out, "{}", plain::text(&waiting));
                    waiting = rest;
                    printed = true;
                }
            }
            Event::Reset => {
                waiting.clear();
                if std::mem::take(&mut printed) {
                    let _ = writeln!(out, "(…)\n");
                }
            }
        }
        // A terminal that is gone reads no answer; it is kept all the same.
        let _ = out.flush();
    }
    let mut out = std::io::stdout().lock();
    clear(&mut out);
    let _ = write!(out, "{}", plain::text(&waiting));
    let _ = out.flush();
}

/// What stands below an answer: chart in words, plan, remarks, cost.
fn below(turn: &Turn, sql: bool) -> String {
    let detail = &turn.detail;
    let mut lines: Vec<String> = Vec::new();
    if let Some(proposal) = &detail.proposal {
        let plan = &proposal.plan;
        lines.push(format!(
            "Plan: {}, {} min, from {:.0} bpm, for {}",
            plan.scale, plan.minutes, plan.tempo, plan.focus
        ));
        for e in &plan.exercises {
            lines.push(format!("  {:>2} min  {}: {}", e.minutes, e.title, e.how));
        }
    }
    for note in &detail.notes {
        lines.push(format!("({note})"));
    }
    if sql {
        for query in &detail.queries {
            let what = query
                .error
                .clone()
                .unwrap_or_else(|| format!("{} rows, {:.1} ms", query.rows.rows.len(), query.ms));
            lines.push(format!("{}\n  {what}", query.sql));
        }
    }
    if let Some(cost) = detail.cost_line() {
        lines.push(format!("[{cost}]"));
    }
    if lines.is_empty() { String::new() } else { format!("\n{}\n", lines.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_for_standing_questions() {
        assert_eq!(numbered("1"), Some(Standing::Next.question()));
        assert_eq!(numbered("6."), Some(Standing::Streak.question()));
        for other in ["0", "7", "x", "1 more"] {
            assert_eq!(numbered(other), None);
        }
    }
}
