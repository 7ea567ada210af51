//! Inner loops compiled twice: for any processor, and for those with AVX2, which do twice as much at once.
//!
//! The arithmetic is the same, operation by operation (no fused multiply-add), so the results are the same to the bit.

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
                // The answer is remembered after the first time.
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has just been found to have AVX2, all that `avx2` asks for.
                    return unsafe { avx2($($arg),*) };
                }
            }
            plain($($arg),*)
        }
    };
}
pub(crate) use wide;
