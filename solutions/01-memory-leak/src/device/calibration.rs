use std::sync::atomic::{AtomicU64, Ordering};

use super::DeviceId;

/// A device's response curve: what each raw sample stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calibration {
    curve: [u32; 256],
}

impl Calibration {
    pub fn level(&self, sample: u8) -> u32 {
        self.curve[usize::from(sample)]
    }

    /// The highest level among the samples; 0 where there are none.
    pub fn peak(&self, samples: &[u8]) -> u32 {
        samples.iter().max().map_or(0, |sample| self.level(*sample))
    }
}

/// Works out calibrations. On the hardware that production runs on, one takes about a second of CPU.
#[derive(Debug, Default)]
pub struct Calibrator {
    runs: AtomicU64,
}

impl Calibrator {
    pub fn calibrate(&self, device: &DeviceId) -> Calibration {
        self.runs.fetch_add(1, Ordering::Relaxed);
        let offset = device
            .as_str()
            .bytes()
            .fold(7u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        let mut curve = [0; 256];
        for (sample, level) in (0u32..).zip(&mut curve) {
            *level = sample * 4 + offset % 16;
        }
        Calibration { curve }
    }

    /// Calibrations worked out so far.
    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }
}
