//! What an answer costs: a shipped price table, which the player's own prices extend or override.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Usage;

const SHIPPED: &str = include_str!("../../assets/prices.toml");
/// Prices are quoted per this many tokens.
const PER: f64 = 1e6;

/// US dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Prompt tokens.
    pub input: f64,
    /// Answer tokens, reasoning included.
    pub output: f64,
    /// Prompt tokens read from the provider's cache; as `input` when not given.
    pub cached: Option<f64>,
}

/// Prices by model name.
#[derive(Clone, Debug)]
pub struct Prices {
    version: String,
    models: BTreeMap<String, Price>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: String,
    models: BTreeMap<String, Price>,
}

impl Default for Prices {
    fn default() -> Self {
        let file: File = toml::from_str(SHIPPED).expect("the shipped price table is parsed by a test");
        Self { version: file.version, models: file.models }
    }
}

impl Prices {
    /// The shipped table with `model=input/output` entries on top.
    ///
    /// # Errors
    /// Names the entry that cannot be read and shows one that can.
    pub fn with_overrides(entries: &[String]) -> Result<Self, String> {
        let mut prices = Self::default();
        for entry in entries {
            let price = parse(entry).ok_or_else(|| {
                format!(
                    "`{entry}` is not a price: write model=input/output in dollars per million tokens, \
                         for example my-model=0.2/0.8"
                )
            })?;
            prices.models.insert(price.0, price.1);
        }
        Ok(prices)
    }

    /// Month of the shipped table.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The price of a model: by its name, by its name without a router's prefix, or without a date at its end.
    #[must_use]
    pub fn of(&self, model: &str) -> Option<Price> {
        if let Some(price) = self.models.get(model) {
            return Some(*price);
        }
        if model.ends_with(":free") {
            return Some(Price { input: 0.0, output: 0.0, cached: None });
        }
        let base = model.rsplit('/').next().unwrap_or(model);
        let base = base.split(':').next().unwrap_or(base);
        self.models.get(base).copied().or_else(|| self.models.get(undated(base)?).copied())
    }

    /// US dollars for these tokens; `None` for a model without a price.
    #[must_use]
    pub fn cost(&self, model: &str, usage: Usage) -> Option<f64> {
        let price = self.of(model)?;
        let cached = usage.cached.min(usage.input);
        #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^52")]
        let dollars = (usage.input - cached) as f64 * price.input
            + cached as f64 * price.cached.unwrap_or(price.input)
            + usage.output as f64 * price.output;
        Some(dollars / PER)
    }
}

fn parse(entry: &str) -> Option<(String, Price)> {
    let (model, price) = entry.rsplit_once('=')?;
    let (input, output) = price.split_once('/')?;
    let dollars = |text: &str| text.trim().parse::<f64>().ok().filter(|d| d.is_finite() && *d >= 0.0);
    let model = model.trim();
    (!model.is_empty()).then_some(())?;
    Some((model.to_owned(), Price { input: dollars(input)?, output: dollars(output)?, cached: None }))
}

/// `gpt-4o-mini-2024-07-18` → `gpt-4o-mini`; also `-latest`, `-001`, `-preview-05-20`.
fn undated(model: &str) -> Option<&str> {
    let mut rest = model;
    while let Some((head, tail)) = rest.rsplit_once('-') {
        let number = tail.len() >= 2 && tail.bytes().all(|b| b.is_ascii_digit());
        if !(number || tail == "latest" || tail == "preview") {
            break;
        }
        rest = head;
    }
    (rest.len() < model.len()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_table_is_sane() {
        let prices = Prices::default();
        assert!(!prices.version().is_empty() && prices.models.len() > 10);
        for (model, p) in &prices.models {
            assert!(p.input > 0.0 && p.output >= p.input, "{model}");
            assert!(p.cached.is_none_or(|c| c < p.input), "{model}");
        }
        assert!(prices.of(&crate::config::Llm::default().model).is_some(), "the default model has a price");
    }

    #[test]
    fn versions_and_routers_cost_what_the_model_costs() {
        let prices = Prices::default();
        let mini = prices.of("gpt-4o-mini");
        assert!(mini.is_some());
        for name in ["gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini", "openai/gpt-4o-mini:nitro"] {
            assert_eq!(prices.of(name), mini, "{name}");
        }
        assert_eq!(prices.of("models/gemini-2.5-flash-preview-05-20"), prices.of("gemini-2.5-flash"));
        assert_ne!(prices.of("gpt-4o-mini"), prices.of("gpt-4o"));
        assert_eq!(prices.of("llama3.2"), None, "no guesses");
        assert_eq!(prices.of("qwen/qwen3-4b:free").map(|p| p.output), Some(0.0));
    }

    #[test]
    fn cost_counts_cached_tokens_once() {
        let prices = Prices::with_overrides(&["m=2/8".into(), "gpt-4o-mini = 1 / 1".into()]).unwrap();
        let usage = Usage { input: 1_000_000, output: 500_000, cached: 250_000, reasoning: 100_000 };
        assert_eq!(prices.cost("m", usage), Some(6.0));
        assert_eq!(prices.cost("gpt-4o-mini", usage), Some(1.5));
        let usage = Usage { input: 1000, cached: 1000, ..Usage::default() };
        let cost = prices.cost("gpt-4o", usage).unwrap();
        assert!((cost - 0.00125).abs() < 1e-12);
        assert_eq!(prices.cost("unknown", usage), None);
    }

    #[test]
    fn bad_overrides_are_named() {
        for bad in ["m", "m=1", "m=1/x", "=1/2", "m=-1/2", "m=NaN/1"] {
            let error = Prices::with_overrides(&[bad.into()]).unwrap_err();
            assert!(error.contains(bad), "{error}");
        }
    }
}
