use std::cell::RefCell;

use bytes::Bytes;

use crate::api::{ALARM_LEVEL, HubError, IngestReport, Reading};
use crate::device::{Frame, unpack};
use crate::hub::Shared;

const SAMPLES_KEPT: usize = 64 * 1024;

thread_local! {
    /// One per thread that works through batches, however many devices there are.
    static SAMPLES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Works through a batch: keeps each device's header and makes the batch's alarms the site's open ones.
pub(crate) fn run(shared: &Shared, batch: &Bytes) -> Result<IngestReport, HubError> {
    let frame = Frame::parse(batch)?;
    let mut readings = Vec::with_capacity(frame.records.len());
    for record in frame.records {
        let calibration = shared.calibration(&record.device);
        let mut device = shared.devices.entry(record.device.clone()).or_default();
        let body = &batch[record.body];
        let level = if record.packed {
            SAMPLES.with_borrow_mut(|samples| {
                samples.clear();
                unpack(body, samples);
                let peak = calibration.peak(samples);
                if samples.capacity() > SAMPLES_KEPT {
                    *samples = Vec::new();
                }
                peak
            })
        } else {
            calibration.peak(body)
        };
        if !record.header.is_empty() {
            device.header = Some(Bytes::copy_from_slice(&batch[record.header]));
        }
        readings.push(Reading {
            device: record.device,
            level,
        });
    }
    let records = readings.len();
    let open: Vec<Reading> = readings
        .iter()
        .filter(|reading| reading.level >= ALARM_LEVEL)
        .cloned()
        .collect();
    let alarms = open.len();
    shared.alarms.insert(frame.site, open);
    Ok(IngestReport {
        records,
        alarms,
        panicked: 0,
    })
}
