//! Inner loops compiled twice: for any processor, and for those with AVX2, which do twice as much at once.
//!
//! The arithmetic is the same, operation by operation (no fused multiply-add), so the results are the same to the bit.
use std::sync::atomic::{AtomicBool, Ordering};

static ONLY_PLAIN: AtomicBool = AtomicBool::new(false);

/// Takes the loops for any processor from now on, or again the wide ones: benches and tests compare them.
pub fn only_plain(only: bool) {
    ONLY_PLAIN.store(only, Ordering::Relaxed);
}

/// Whether the wide loops are taken. The processor is asked once; then this is two loads.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) fn has_avx2() -> bool {
    std::arch::is_x86_feature_detected!("avx2") && !ONLY_PLAIN.load(Ordering::Relaxed)
}

/// Defines a function whose body is compiled for AVX2 too, and taken where the processor has it.
macro_rules! wide {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$doc])*
        #[inline]
        $vis fn $name($($arg: $kind),*) $(-> $out)? {
            #[inline(always)]
            fn plain($($arg: $kind),*) $(-> $out)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $kind),*) $(-> $out)? {
                    plain($($arg),*)
                }
                if $crate::dsp::wide::has_avx2() {
                    // SAFETY: the processor has been found to have AVX2, all that `avx2` asks for.
                    return unsafe { avx2($($arg),*) };
                }
            }
            plain($($arg),*)
        }
    };
}
pub(crate) use wide;
