//! Puts the analyser into the real-time loop: the only place where `audio` and `dsp` meet.

use crate::audio::engine::Hear;
use crate::dsp::Analyzer;
use crate::dsp::event::DspEvent;

impl Hear for Analyzer {
    fn process(&mut self, samples: &[f32], mut sink: &mut dyn FnMut(DspEvent)) {
        Analyzer::process(self, samples, &mut sink);
    }

    fn skip(&mut self, samples: u64, mut sink: &mut dyn FnMut(DspEvent)) {
        Analyzer::skip(self, samples, &mut sink);
    }

    fn set_gated(&mut self, gated: bool) {
        Analyzer::set_gated(self, gated);
    }

    fn set_origin(&mut self, seconds: f64) {
        Analyzer::set_origin(self, seconds);
    }

    fn finish(&mut self, mut sink: &mut dyn FnMut(DspEvent)) {
        Analyzer::finish(self, &mut sink);
    }
}
