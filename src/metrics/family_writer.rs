//! Writes families of samples. Label values are plain text, and no sample of a family occurs twice.

use std::{collections::BTreeMap, fmt};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};

use crate::domain::{DurationHistogram, sanitize};

/// The name, the unit and the help text of a family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    /// Without the unit and without `_total`.
    pub name: &'static str,
    pub unit: Option<MetricUnit>,
    pub help: &'static str,
}

/// The units in use; each is a part of the name.
#[derive(Clone, Copy, Debug)]
pub(super) enum MetricUnit {
    Seconds,
    Ratio,
    Usd,
}

impl MetricUnit {
    fn to_unit(self) -> Unit {
        match self {
            Self::Seconds => Unit::Seconds,
            Self::Ratio => Unit::Other("ratio".to_owned()),
            Self::Usd => Unit::Other("usd".to_owned()),
        }
    }
}

/// The values of a sample's labels, in the order of their names.
type LabelValues<const N: usize> = [String; N];

pub(super) struct FamilyWriter<'e> {
    encoder: DescriptorEncoder<'e>,
}

impl<'e> FamilyWriter<'e> {
    pub const fn new(encoder: DescriptorEncoder<'e>) -> Self {
        Self { encoder }
    }

    /// Writes a gauge. Of several samples with the same labels the last one counts.
    #[expect(clippy::redundant_closure_for_method_calls, reason = "the method itself is for one lifetime only")]
    pub fn gauge<'l, V: EncodeGaugeValue, const N: usize>(
        &mut self,
        family: Family,
        names: [&'static str; N],
        samples: impl IntoIterator<Item = ([&'l str; N], V)>,
    ) -> fmt::Result {
        let samples: BTreeMap<LabelValues<N>, V> =
            samples.into_iter().map(|(values, value)| (plain(values), value)).collect();
        self.write(family, MetricType::Gauge, names, &samples, |metric, value| metric.encode_gauge(value))
    }

    /// Writes a counter. Samples with the same labels are added up.
    pub fn counter<'l, V: EncodeCounterValue + Default + std::ops::AddAssign, const N: usize>(
        &mut self,
        family: Family,
        names: [&'static str; N],
        samples: impl IntoIterator<Item = ([&'l str; N], V)>,
    ) -> fmt::Result {
        let mut sums: BTreeMap<LabelValues<N>, V> = BTreeMap::new();
        for (values, value) in samples {
            *sums.entry(plain(values)).or_default() += value;
        }
        self.write(family, MetricType::Counter, names, &sums, |metric, value| {
            metric.encode_counter::<NoLabelSet, V, f64>(value, None)
        })
    }

    /// Writes a histogram. Of several samples with the same labels the last one counts.
    pub fn histogram<'h, const N: usize>(
        &mut self,
        family: Family,
        names: [&'static str; N],
        samples: impl IntoIterator<Item = ([&'h str; N], &'h DurationHistogram)>,
    ) -> fmt::Result {
        let samples: BTreeMap<LabelValues<N>, &DurationHistogram> =
            samples.into_iter().map(|(values, histogram)| (plain(values), histogram)).collect();
        self.write(family, MetricType::Histogram, names, &samples, |metric, histogram| {
            let buckets: Vec<(f64, u64)> = histogram.buckets().collect();
            metric.encode_histogram::<NoLabelSet>(histogram.sum().as_secs_f64(), histogram.count(), &buckets, None)
        })
    }

    fn write<V, const N: usize>(
        &mut self,
        family: Family,
        metric_type: MetricType,
        names: [&'static str; N],
        samples: &BTreeMap<LabelValues<N>, V>,
        write_sample: impl Fn(&mut MetricEncoder<'_>, &V) -> fmt::Result,
    ) -> fmt::Result {
        let unit = family.unit.map(MetricUnit::to_unit);
        let mut metric = self.encoder.encode_descriptor(family.name, family.help, unit.as_ref(), metric_type)?;
        for (values, value) in samples {
            let mut labels = names.map(|name| (name, ""));
            for (label, value) in labels.iter_mut().zip(values) {
                label.1 = value;
            }
            write_sample(&mut metric.encode_family(&labels)?, value)?;
        }
        Ok(())
    }
}

/// Label values that a terminal can show: somebody will read the metrics with curl.
fn plain<const N: usize>(values: [&str; N]) -> LabelValues<N> {
    values.map(|value| sanitize(value).into_owned())
}
