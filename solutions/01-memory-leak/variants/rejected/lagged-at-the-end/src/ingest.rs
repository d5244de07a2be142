use std::ops::Range;
use std::sync::Arc;

use crate::api::{ALARM_LEVEL, HubError, Reading};
use crate::device::{Calibration, DeviceId, Frame, unpack};

/// What is to be kept of a batch, before any of it is.
pub(crate) struct Outcome {
    pub(crate) site: String,
    pub(crate) records: usize,
    /// Where in the batch the headers are.
    pub(crate) headers: Vec<(DeviceId, Range<usize>)>,
    pub(crate) alarms: Vec<Reading>,
}

/// Works through a batch. Panics where the codec does.
pub(crate) fn run(
    batch: &[u8],
    calibration: impl Fn(&DeviceId) -> Arc<Calibration>,
) -> Result<Outcome, HubError> {
    let frame = Frame::parse(batch)?;
    let mut outcome = Outcome {
        site: frame.site,
        records: frame.records.len(),
        headers: Vec::new(),
        alarms: Vec::new(),
    };
    for record in frame.records {
        let calibration = calibration(&record.device);
        let body = &batch[record.body];
        let level = if record.packed {
            let mut samples = Vec::new();
            unpack(body, &mut samples);
            calibration.peak(&samples)
        } else {
            calibration.peak(body)
        };
        if !record.header.is_empty() {
            outcome.headers.push((record.device.clone(), record.header));
        }
        if level >= ALARM_LEVEL {
            let device = record.device;
            outcome.alarms.push(Reading { device, level });
        }
    }
    Ok(outcome)
}
