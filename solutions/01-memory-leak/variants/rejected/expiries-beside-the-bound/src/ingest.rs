use bytes::Bytes;

use crate::api::{ALARM_LEVEL, HubError, IngestReport, Reading};
use crate::device::{Frame, unpack};
use crate::hub::Shared;

/// Works through a batch: keeps each device's header and makes the batch's alarms the site's open ones. Nothing of the
/// batch outlives it.
pub(crate) fn run(shared: &Shared, batch: &Bytes) -> Result<IngestReport, HubError> {
    let frame = Frame::parse(batch)?;
    let mut report = IngestReport::default();
    let mut open = Vec::new();
    let mut samples = Vec::new();
    for record in frame.records {
        if shared.closing.is_cancelled() {
            // Nobody waits for it any more, but shutdown does.
            return Ok(report);
        }
        let calibration = shared.calibration(&record.device);
        let body = &batch[record.body];
        let level = if record.packed {
            samples.clear();
            unpack(body, &mut samples);
            calibration.peak(&samples)
        } else {
            calibration.peak(body)
        };
        if !record.header.is_empty() {
            shared.keep_header(&record.device, &batch[record.header]);
        }
        report.records += 1;
        if level >= ALARM_LEVEL {
            report.alarms += 1;
            open.push(Reading {
                device: record.device,
                level,
            });
        }
    }
    shared.keep_alarms(frame.site, open);
    Ok(report)
}
