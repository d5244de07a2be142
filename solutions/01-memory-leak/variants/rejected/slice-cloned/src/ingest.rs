use bytes::Bytes;

use crate::api::{ALARM_LEVEL, HubError, IngestReport, Reading};
use crate::device::{Frame, unpack};
use crate::hub::Shared;

/// Works through a batch: keeps each device's header and makes the batch's alarms the site's open ones.
pub(crate) fn run(shared: &Shared, batch: &Bytes) -> Result<IngestReport, HubError> {
    let frame = Frame::parse(batch)?;
    let mut readings = Vec::with_capacity(frame.records.len());
    // The batch's, not the device's: it grows to the largest body of this batch, and goes when the batch goes.
    let mut samples = Vec::new();
    for record in frame.records {
        let calibration = shared.calibration(&record.device);
        let mut device = shared.devices.entry(record.device.clone()).or_default();
        let body = &batch[record.body];
        let level = if record.packed {
            samples.clear();
            unpack(body, &mut samples);
            calibration.peak(&samples)
        } else {
            calibration.peak(body)
        };
        if !record.header.is_empty() {
            device.header = Some(batch.slice(record.header).clone());
        }
        readings.push(Reading {
            device: record.device,
            level,
        });
    }
    let records = readings.len();
    let mut open: Vec<Reading> = readings
        .into_iter()
        .filter(|reading| reading.level >= ALARM_LEVEL)
        .collect();
    // `collect` filtered in place, so `open` still has room for every reading of the batch.
    open.shrink_to_fit();
    let alarms = open.len();
    shared.alarms.insert(frame.site, open);
    Ok(IngestReport {
        records,
        alarms,
        panicked: 0,
    })
}
