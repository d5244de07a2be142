use bytes::Bytes;

use crate::api::{ALARM_LEVEL, HubError, IngestReport, Reading};
use crate::device::{Frame, unpack};
use crate::hub::Shared;

/// Works through a batch: keeps each device's header and makes the batch's alarms the site's open ones.
pub(crate) fn run(shared: &Shared, batch: &Bytes) -> Result<IngestReport, HubError> {
    let frame = Frame::parse(batch)?;
    let mut readings = Vec::with_capacity(frame.records.len());
    for record in frame.records {
        let calibration = shared.calibration(&record.device);
        let mut device = shared.devices.entry(record.device.clone()).or_default();
        let body = &batch[record.body];
        let level = if record.packed {
            // Bodies of one device are much alike, so its buffer soon has the right size.
            device.samples.clear();
            unpack(body, &mut device.samples);
            calibration.peak(&device.samples)
        } else {
            calibration.peak(body)
        };
        if !record.header.is_empty() {
            device.header = Some(batch.slice(record.header));
        }
        readings.push(Reading {
            device: record.device,
            level,
        });
    }
    let records = readings.len();
    let open: Vec<Reading> = readings
        .into_iter()
        .filter(|reading| reading.level >= ALARM_LEVEL)
        .collect();
    let alarms = open.len();
    shared.alarms.insert(frame.site, open);
    Ok(IngestReport {
        records,
        alarms,
        panicked: 0,
    })
}
