use crate::Failure;

/// Growth per unit of work, from equal windows of work that agree.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// What one unit costs.
    pub per_unit: f64,
    /// How far the two windows lie apart, per unit.
    pub spread: f64,
}

/// The cost of one unit of work from readings taken after each of several equal windows of `units`: the median of the
/// windows' growths, the first window left out as warm-up.
///
/// # Errors
/// With fewer than three readings, or a window of no units.
pub fn slope(units: u64, readings: &[f64]) -> Result<Slope, Failure> {
    if readings.len() < 3 || units == 0 {
        return Err(Failure::environment(format!(
            "a slope needs three readings of a window that is not empty, got {} of {units} units",
            readings.len()
        )));
    }
    let mut growths: Vec<f64> = readings
        .windows(2)
        .skip(1)
        .map(|pair| (pair[1] - pair[0]) / units as f64)
        .collect();
    growths.sort_by(f64::total_cmp);
    let middle = growths.len() / 2;
    let per_unit = if growths.len() % 2 == 1 {
        growths[middle]
    } else {
        (growths[middle - 1] + growths[middle]) / 2.0
    };
    Ok(Slope {
        per_unit,
        spread: growths[growths.len() - 1] - growths[0],
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::warm_up_is_left_out(&[0.0, 5000.0, 5000.0, 5000.0], 0.0, 0.0)]
    #[case::a_leak(&[0.0, 5000.0, 5300.0, 5600.0], 3.0, 0.0)]
    #[case::noise_shows_as_spread(&[0.0, 0.0, 100.0, 300.0, 450.0], 1.5, 1.0)]
    fn growth_per_unit(#[case] readings: &[f64], #[case] per_unit: f64, #[case] spread: f64) {
        assert_eq!(slope(100, readings).unwrap(), Slope { per_unit, spread });
    }

    #[rstest]
    #[case(100, &[1.0, 2.0])]
    #[case(0, &[1.0, 2.0, 3.0])]
    fn too_little_to_tell(#[case] units: u64, #[case] readings: &[f64]) {
        assert!(!slope(units, readings).unwrap_err().is_fail());
    }
}
