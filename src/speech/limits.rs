//! What one sentence may cost: an engine that trickles or never stops is left, whatever it was asked.

use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use tokio::time::{Instant, timeout};

use super::SpeechError;

/// Longest sound of one sentence, seconds. A whole advice of 30 words takes about half as long, a summary of 60 words in
/// several sentences about as long.
pub(super) const MAX_SECONDS: u32 = 30;
/// Longest that a sentence is waited for in all once its first sound is there. Only waiting counts: while the coach
/// does not ask for more, because it plays what it has, the engine is not to blame.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Sound that comes piece by piece.
pub(super) trait Pieces: Send + 'static {
    /// Name of the engine.
    fn engine(&self) -> &'static str;
    /// Samples a second, as known by now.
    fn rate(&self) -> u32;
    /// The next piece that is not empty; `None` after a good end.
    fn piece(&mut self) -> BoxFuture<'_, Option<Result<Vec<f32>, SpeechError>>>;
}

/// Pieces within limits of time and length. Dropped with its source as soon as one is exceeded.
pub(super) struct Limited<P> {
    source: P,
    /// Longest wait for one piece.
    patience: Duration,
    /// What is left of [`MAX_WAIT`].
    left: Duration,
    /// Samples so far.
    samples: usize,
}

impl<P: Pieces> Limited<P> {
    pub(super) fn new(source: P, patience: Duration) -> Self {
        Self { source, patience, left: MAX_WAIT, samples: 0 }
    }

    /// The first piece with the rate of all, limited in time by the caller, who began to wait before there was a
    /// source.
    pub(super) async fn first(&mut self) -> Option<Result<(Vec<f32>, u32), SpeechError>> {
        let piece = self.source.piece().await?;
        Some(piece.and_then(|p| self.count(p)).map(|p| (p, self.source.rate())))
    }

    /// All pieces after the first.
    pub(super) fn rest(self) -> BoxStream<'static, Result<Vec<f32>, SpeechError>> {
        let pieces = stream::unfold(Some(self), |limited| async move {
            let mut limited = limited?;
            match limited.next().await? {
                Ok(piece) => Some((Ok(piece), Some(limited))),
                Err(error) => Some((Err(error), None)),
            }
        });
        pieces.boxed()
    }

    async fn next(&mut self) -> Option<Result<Vec<f32>, SpeechError>> {
        let engine = self.source.engine();
        let asked = Instant::now();
        let Ok(piece) = timeout(self.patience.min(self.left), self.source.piece()).await else {
            return Some(Err(if self.patience <= self.left {
                SpeechError::Timeout { engine, after: self.patience }
            } else {
                SpeechError::Unfinished { engine, after: MAX_WAIT }
            }));
        };
        self.left = self.left.saturating_sub(asked.elapsed());
        piece.map(|p| p.and_then(|p| self.count(p)))
    }

    fn count(&mut self, piece: Vec<f32>) -> Result<Vec<f32>, SpeechError> {
        self.samples += piece.len();
        if self.samples <= self.source.rate() as usize * MAX_SECONDS as usize {
            return Ok(piece);
        }
        let message = format!(
            "it spoke one sentence for more than {MAX_SECONDS} s and was stopped; check the speech model or command, \
             and the sample rate"
        );
        Err(SpeechError::Failed { engine: self.source.engine(), message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces of `len` samples without end, `delay` before each.
    struct Endless {
        len: usize,
        delay: Duration,
    }

    impl Pieces for Endless {
        fn engine(&self) -> &'static str {
            "endless"
        }
        fn rate(&self) -> u32 {
            1_000
        }
        fn piece(&mut self) -> BoxFuture<'_, Option<Result<Vec<f32>, SpeechError>>> {
            Box::pin(async move {
                tokio::time::sleep(self.delay).await;
                Some(Ok(vec![0.5; self.len]))
            })
        }
    }

    const LONG: Duration = Duration::from_secs(20);

    async fn end(limited: Limited<Endless>) -> (usize, SpeechError) {
        let mut rest = limited.rest();
        let mut samples = 0;
        loop {
            match rest.next().await.expect("an endless source is stopped by an error") {
                Ok(piece) => samples += piece.len(),
                Err(error) => {
                    assert!(rest.next().await.is_none(), "nothing after an error");
                    return (samples, error);
                }
            }
        }
    }

    #[tokio::test]
    async fn sound_without_end_is_stopped() {
        let source = Endless { len: 400, delay: Duration::ZERO };
        let (samples, error) = end(Limited::new(source, LONG)).await;
        assert_eq!((samples, error.kind()), (MAX_SECONDS as usize * 1_000, "engine_failed"));
        let huge = Endless { len: 31_000, delay: Duration::ZERO };
        assert!(Limited::new(huge, LONG).first().await.unwrap().is_err(), "in one piece too");
    }

    #[tokio::test]
    async fn a_trickle_is_not_waited_for_for_ever() {
        let source = Endless { len: 1, delay: Duration::from_millis(10) };
        let trickle = Limited { left: Duration::from_millis(60), ..Limited::new(source, LONG) };
        let (_, error) = end(trickle).await;
        assert!(matches!(error, SpeechError::Unfinished { .. }), "{error}");
        assert_eq!(error.kind(), "timeout");
        let silent = Endless { len: 1, delay: LONG };
        let (_, error) = end(Limited::new(silent, Duration::from_millis(10))).await;
        assert!(matches!(error, SpeechError::Timeout { .. }), "{error}");
    }
}
