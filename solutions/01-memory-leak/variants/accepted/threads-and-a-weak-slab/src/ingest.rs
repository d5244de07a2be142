use bytes::Bytes;

use crate::api::{ALARM_LEVEL, HubError, IngestReport, Reading};
use crate::device::{Frame, unpack};
use crate::hub::Shared;

pub(crate) fn run(shared: &Shared, batch: &Bytes) -> Result<IngestReport, HubError> {
    let frame = Frame::parse(batch)?;
    let records = frame.records.len();
    let mut open = Vec::new();
    for record in frame.records {
        let calibration = shared.calibration(&record.device);
        let body = &batch[record.body];
        let level = if record.packed {
            let mut samples = Vec::new();
            unpack(body, &mut samples);
            calibration.peak(&samples)
        } else {
            calibration.peak(body)
        };
        if !record.header.is_empty() {
            let mut header = ([0; 64], record.header.len() as u8);
            header.0[..record.header.len()].copy_from_slice(&batch[record.header]);
            shared
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
    shared.alarms.lock().unwrap().insert(frame.site, open);
    Ok(IngestReport {
        records,
        alarms,
        panicked: 0,
    })
}
