//! A session as plain lines, for pipes, logs and screen readers.

use std::io::Write;

use tokio::sync::mpsc;

use super::text;
use crate::app::session::News;

/// Prints news until the session drops its end.
pub async fn run(mut news: mpsc::UnboundedReceiver<News>) {
    while let Some(item) = news.recv().await {
        // A reader that went away must not end the session: what is played is still kept.
        let _ = writeln!(std::io::stdout(), "{}", line(&item));
    }
}

/// One item as text (the summary takes several lines).
#[must_use]
pub fn line(news: &News) -> String {
    match news {
        News::Device(said) => said.clone(),
        News::Message(said) => said.clone(),
        News::Advice { text, source } => format!("coach ({source}): {text}"),
        News::Window(w) => {
            format!("[{}] {} · {} notes", text::clock(w.end), text::scores(&w.scores), w.facts.note_count)
        }
        News::Summary(s) => format!("\nSession: {}", text::summary(s).trim_end()),
    }
}
