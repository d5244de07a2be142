use bytes::Bytes;

use crate::api::{ALARM_LEVEL, HubError, IngestReport, Reading};
use crate::device::{Frame, unpack};
use crate::hub::Shelf;

pub(crate) fn run(shelf: &Shelf, batch: &Bytes) -> Result<IngestReport, HubError> {
    let frame = Frame::parse(batch)?;
    let records = frame.records.len();
    let mut open = Vec::new();
    for record in frame.records {
        let calibration = shelf.calibration(&record.device);
        let body = &batch[record.body];
        let level = if record.packed {
            let mut samples = Vec::new();
            unpack(body, &mut samples);
            calibration.peak(&samples)
        } else {
            calibration.peak(body)
        };
        if !record.header.is_empty() {
            let header = batch[record.header].into();
            shelf
                .headers
                .lock()
                .unwrap()
                .insert(record.device.clone(), header);
        }
        if level >= ALARM_LEVEL {
            open.push(Reading {
                device: record.device,
                level,
            });
        }
    }
    let alarms = open.len();
    shelf
        .alarms
        .lock()
        .unwrap()
        .insert(frame.site, open.into_boxed_slice());
    Ok(IngestReport {
        records,
        alarms,
        panicked: 0,
    })
}
