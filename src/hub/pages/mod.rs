//! The pages, each with its JSON.

pub mod chat;
pub mod history;
pub mod live;
pub mod plan;
pub mod tuner;
pub mod users;
