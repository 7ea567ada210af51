//! Seeded randomness: the same seed plays the same notes on every machine.

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// A stream of its own for each purpose, so that one kind of mistake never changes another.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03));
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// An independent stream, seeded by this one.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// Uniform in 0..1.
    pub(super) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform between two ends.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// One of `count` (at least 1) indices.
    pub(super) fn index(&mut self, count: usize) -> usize {
        ((self.uniform() * count as f64) as usize).min(count.saturating_sub(1))
    }

    /// Standard normal (Box and Muller), kept within three standard deviations: a virtual player who is out by 10 ms
    /// on the whole is never out by 100.
    pub(super) fn normal(&mut self) -> f64 {
        loop {
            let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
            let value = radius * (std::f64::consts::TAU * self.uniform()).cos();
            if value.abs() <= 3.0 {
                return value;
            }
        }
    }
}
