//! The agent's graph as data: what it can do, what decides where it goes next, and how far it may go.
//!
//! The turn (`turn`) does nothing but visit a node and look up here where its outcome leads; the page
//! `/chat/graph` draws the same table, and every turn's trace carries it.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Where a turn begins or ends.
    Ends,
    /// Decides without a model, or with a small question to one.
    Decision,
    /// The model.
    Agent,
    /// A tool of the model.
    Tool,
    /// Answers without the model.
    Answer,
}

macro_rules! nodes {
    ($($name:ident $id:literal $kind:ident $label:literal ($x:literal, $y:literal) $about:literal;)*) => {
        /// A place in the graph.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Node {
            $(#[doc = $about] $name,)*
        }

        impl Node {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As in traces.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)* }
            }

            /// What it is.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)* }
            }

            /// As it is drawn.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// What happens there.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self { $(Self::$name => $about,)* }
            }

            /// Column and row in the drawing.
            #[must_use]
            pub const fn place(self) -> (u32, u32) {
                match self { $(Self::$name => ($x, $y),)* }
            }
        }
    };
}

nodes! {
    Question "question" Ends "question" (0, 1) "The player asks.";
    Intent "intent" Decision "about practice?" (1, 1) "Decides whether the question is about practice: by its words, and where they do not tell, by a small question to the model.";
    Decline "decline" Answer "decline" (1, 5) "Says that it answers only about practice.";
    HasModel "has_model" Decision "a model?" (2, 1) "Looks whether a language model is configured.";
    Standing "standing" Answer "standing question" (2, 3) "Answers the standing questions from fixed queries, without a model; says so when a question is none of them.";
    Agent "agent" Agent "coach" (3, 1) "The language model answers, or calls tools.";
    Limits "limits" Decision "within limits?" (4, 1) "Counts calls, time and tokens of the turn.";
    LastWord "last_word" Agent "last word" (4, 3) "The model must answer with what it has; tools are closed.";
    Schema "get_database_schema" Tool "get_database_schema" (5, 0) "Tells the tables and columns.";
    Query "execute_sql_query" Tool "execute_sql_query" (5, 1) "Runs one SELECT over the player's own rows; what is refused comes back as an error to learn from.";
    Plan "propose_practice_plan" Tool "propose_practice_plan" (5, 2) "Checks a practice plan, and shows it with a button that saves it.";
    Chart "chart" Decision "worth a chart?" (3, 4) "Makes a chart from the rows of the last query when the question is about progress or comparison.";
    Answer "answer" Ends "answer" (4, 5) "The answer is kept, with its queries, chart and cost.";
}

/// What came of a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// There is nothing to decide.
    Done,
    /// The question is about practice.
    Practice,
    /// It is about something else.
    Other,
    /// Yes.
    Yes,
    /// No.
    No,
    /// The model answered.
    Answered,
    /// The model calls tools.
    Calls,
    /// No model answered.
    Failed,
    /// A limit is reached.
    Reached,
    /// Within limits, and this tool is next.
    CallsSchema,
    /// See `CallsSchema`.
    CallsQuery,
    /// See `CallsSchema`.
    CallsPlan,
    /// There is no such tool; the model is told.
    Unknown,
    /// Another tool was called in the same breath.
    MoreCalls,
}

impl Outcome {
    /// As it stands on an arrow.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Done => "",
            Self::Practice => "practice",
            Self::Other => "something else",
            Self::Yes | Self::CallsSchema | Self::CallsQuery | Self::CallsPlan => "yes",
            Self::No => "no",
            Self::Answered => "answers",
            Self::Calls => "calls a tool",
            Self::Failed => "no model answers",
            Self::Reached => "reached",
            Self::Unknown => "no such tool",
            Self::MoreCalls => "next call",
        }
    }
}

/// From where, with which outcome, to where.
pub const EDGES: &[(Node, Outcome, Node)] = &[
    (Node::Question, Outcome::Done, Node::Intent),
    (Node::Intent, Outcome::Practice, Node::HasModel),
    (Node::Intent, Outcome::Other, Node::Decline),
    (Node::Decline, Outcome::Done, Node::Answer),
    (Node::HasModel, Outcome::Yes, Node::Agent),
    (Node::HasModel, Outcome::No, Node::Standing),
    (Node::Standing, Outcome::Done, Node::Chart),
    (Node::Agent, Outcome::Answered, Node::Chart),
    (Node::Agent, Outcome::Calls, Node::Limits),
    (Node::Agent, Outcome::Failed, Node::Standing),
    (Node::Limits, Outcome::CallsSchema, Node::Schema),
    (Node::Limits, Outcome::CallsQuery, Node::Query),
    (Node::Limits, Outcome::CallsPlan, Node::Plan),
    (Node::Limits, Outcome::Unknown, Node::Agent),
    (Node::Limits, Outcome::Reached, Node::LastWord),
    (Node::Schema, Outcome::Done, Node::Agent),
    (Node::Schema, Outcome::MoreCalls, Node::Limits),
    (Node::Query, Outcome::Done, Node::Agent),
    (Node::Query, Outcome::MoreCalls, Node::Limits),
    (Node::Plan, Outcome::Done, Node::Agent),
    (Node::Plan, Outcome::MoreCalls, Node::Limits),
    (Node::LastWord, Outcome::Answered, Node::Chart),
    (Node::LastWord, Outcome::Failed, Node::Standing),
    (Node::Chart, Outcome::Done, Node::Answer),
];

/// Where an outcome leads; `None`: the graph knows no such way, and the turn ends there.
#[must_use]
pub fn next(node: Node, outcome: Outcome) -> Option<Node> {
    EDGES.iter().find(|(from, o, _)| *from == node && *o == outcome).map(|(_, _, to)| *to)
}

/// How far one turn may go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Answers of the model with tool calls in them; one more without tools may follow.
    pub rounds: usize,
    /// Tool calls.
    pub calls: usize,
    /// Time from the question on.
    pub time: Duration,
    /// Tokens in and out together.
    pub tokens: u64,
}

impl Default for Limits {
    /// A good answer takes one to three queries; eight calls leave room for mistakes. A minute is as long as anyone looks
    /// at a chat; 40,000 tokens are some cents on a small model.
    fn default() -> Self {
        Self { rounds: 6, calls: 8, time: Duration::from_secs(60), tokens: 40_000 }
    }
}

/// The whole graph, for the trace and the API.
#[must_use]
pub fn json(limits: &Limits) -> Value {
    json!({
        "nodes": Node::ALL.iter().map(|n| json!({
            "id": n.id(), "kind": n.kind(), "label": n.label(), "about": n.about() })).collect::<Vec<_>>(),
        "edges": EDGES.iter().map(|(from, outcome, to)| json!({
            "from": from.id(), "to": to.id(), "when": outcome.label() })).collect::<Vec<_>>(),
        "limits": { "rounds": limits.rounds, "calls": limits.calls, "seconds": limits.time.as_secs(),
            "tokens": limits.tokens },
    })
}

/// Width of a box and the distance of columns, in units of the drawing.
const BOX: (i64, i64) = (168, 44);
const COLUMN: i64 = 250;
const ROW: i64 = 96;
const MARGIN: i64 = 24;

/// The graph as SVG with classes instead of colours: the style sheet paints it. Made of constants only.
#[must_use]
pub fn svg() -> String {
    let corner = |n: Node| {
        let (x, y) = n.place();
        (MARGIN + i64::from(x) * COLUMN, MARGIN + i64::from(y) * ROW)
    };
    let (columns, rows) = Node::ALL.iter().fold((0, 0), |(c, r), n| (c.max(n.place().0), r.max(n.place().1)));
    let width = 2 * MARGIN + i64::from(columns) * COLUMN + BOX.0;
    let height = 2 * MARGIN + i64::from(rows) * ROW + BOX.1;
    let mut out = format!(
        "<svg class=\"chat-graph\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"graph-title\">\
         <title id=\"graph-title\">How the chat coach finds its answer; the list below says the same in words</title>\
         <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto-start-reverse\"><path d=\"M0 0L8 4L0 8z\"/></marker></defs>"
    );
    let mut drawn: Vec<(Node, Node)> = Vec::new();
    for (from, outcome, to) in EDGES {
        if drawn.contains(&(*from, *to)) {
            continue;
        }
        drawn.push((*from, *to));
        let ((x1, y1), (x2, y2)) = (corner(*from), corner(*to));
        let centre = |x: i64, y: i64| (x + BOX.0 / 2, y + BOX.1 / 2);
        let (a, b) = (centre(x1, y1), centre(x2, y2));
        // Arrows there and back, and those that pass a box in between, bow to one side.
        let back = EDGES.iter().any(|(f, _, t)| f == to && t == from);
        let far = (x2 - x1).abs() > COLUMN || (y2 - y1).abs() > 2 * ROW;
        let bow = if back || far { 26 } else { 0 };
        let start = edge_of(a, b);
        let end = edge_of(b, a);
        let length = f64::hypot((b.0 - a.0) as f64, (b.1 - a.1) as f64).max(1.0);
        let side = |along: i64| (bow as f64 * along as f64 / length).round() as i64;
        let bend = ((a.0 + b.0) / 2 + side(-(b.1 - a.1)) * 2, (a.1 + b.1) / 2 + side(b.0 - a.0) * 2);
        let (class, name) = (if to.kind() == Kind::Tool { "to-tool" } else { "edge" }, outcome.label());
        out.push_str(&format!(
            "<path class=\"{class}\" d=\"M{} {}Q{} {} {} {}\" marker-end=\"url(#tip)\"/>",
            start.0, start.1, bend.0, bend.1, end.0, end.1
        ));
        if !name.is_empty() && to.kind() != Kind::Tool && from.kind() != Kind::Tool {
            let at = ((start.0 + 2 * bend.0 + end.0) / 4, (start.1 + 2 * bend.1 + end.1) / 4);
            out.push_str(&format!(
                "<text class=\"edge-name\" x=\"{}\" y=\"{}\">{name}</text>",
                at.0,
                at.1 - 5
            ));
        }
    }
    for node in Node::ALL {
        let (x, y) = corner(*node);
        let kind = match node.kind() {
            Kind::Ends => "ends",
            Kind::Decision => "decision",
            Kind::Agent => "agent",
            Kind::Tool => "tool",
            Kind::Answer => "direct",
        };
        out.push_str(&format!(
            "<g class=\"node {kind}\"><rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"{}\"/>\
             <text x=\"{}\" y=\"{}\">{}</text></g>",
            BOX.0,
            BOX.1,
            if node.kind() == Kind::Ends { BOX.1 / 2 } else { 8 },
            x + BOX.0 / 2,
            y + BOX.1 / 2 + 5,
            node.label()
        ));
    }
    out.push_str("</svg>");
    out
}

/// Where the line from the centre of a box to another point leaves the box.
fn edge_of(centre: (i64, i64), towards: (i64, i64)) -> (i64, i64) {
    let (dx, dy) = ((towards.0 - centre.0) as f64, (towards.1 - centre.1) as f64);
    let (half_w, half_h) = (BOX.0 as f64 / 2.0 + 2.0, BOX.1 as f64 / 2.0 + 2.0);
    let scale = (half_w / dx.abs().max(1e-9)).min(half_h / dy.abs().max(1e-9)).min(1.0);
    (centre.0 + (dx * scale).round() as i64, centre.1 + (dy * scale).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_is_reached_and_leads_to_the_answer() {
        for node in Node::ALL {
            let mut seen = vec![*node];
            let mut i = 0;
            while let Some(n) = seen.get(i).copied() {
                for (_, _, to) in EDGES.iter().filter(|(f, _, _)| *f == n) {
                    if !seen.contains(to) {
                        seen.push(*to);
                    }
                }
                i += 1;
            }
            assert!(seen.contains(&Node::Answer), "{} leads nowhere", node.id());
            let reached = *node == Node::Question || EDGES.iter().any(|(_, _, to)| to == node);
            assert!(reached, "nothing leads to {}", node.id());
        }
        for (n, (from, outcome, _)) in EDGES.iter().enumerate() {
            let twice = EDGES[n + 1..].iter().any(|(f, o, _)| f == from && o == outcome);
            assert!(!twice, "{} knows two ways for {outcome:?}", from.id());
        }
        assert_eq!(next(Node::Answer, Outcome::Done), None);
    }

    #[test]
    fn the_drawing_shows_every_node_and_holds_no_style() {
        let svg = svg();
        assert!(Node::ALL.iter().all(|n| svg.contains(&format!(">{}<", n.label()))));
        assert!(!svg.contains("style=") && !svg.contains("<script"));
        let mut places: Vec<_> = Node::ALL.iter().map(|n| n.place()).collect();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), Node::ALL.len(), "no two in one place");
    }
}
