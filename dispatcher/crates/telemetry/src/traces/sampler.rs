//! Which traces are kept: a pure function of trace id and flag, so that every dispatcher decides the same.

use shared::config::Environment;
use shared::error::{Error, Result};
use shared::telemetry::TraceContext;

/// `OTEL_TRACES_SAMPLER`. The whole chain has one trace id, so a ratio keeps or drops whole traces.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Drop a trace if the sender of the first event drops it.
    parent_based: bool,
    /// The share of traces that is kept.
    ratio: f64,
}

impl Sampler {
    pub(super) fn read(environment: &Environment) -> Result<Self> {
        let name = environment.get("OTEL_TRACES_SAMPLER").map_or("parentbased_always_on", str::trim);
        let (parent_based, root) =
            name.strip_prefix("parentbased_").map_or((false, name), |root| (true, root));
        let ratio = match root {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => argument(environment)?,
            _ => {
                return Err(Error::configuration(format!(
                    "OTEL_TRACES_SAMPLER is {name:?}; there are always_on, always_off and traceidratio, each also with parentbased_ before it"
                )));
            }
        };
        Ok(Self { parent_based, ratio })
    }

    /// Whether spans of this trace are exported.
    pub(super) fn keeps(self, trace: &TraceContext) -> bool {
        if self.parent_based && !trace.is_sampled() {
            return false;
        }
        // The last 14 digits are the random ones (W3C Trace Context level 2): 56 bits.
        let random = trace.trace_id().get(18..).and_then(|digits| u64::from_str_radix(digits, 16).ok());
        // A double holds 53 bits exactly, which is enough for a share.
        #[expect(clippy::cast_precision_loss)]
        random.is_none_or(|random| (random as f64) < self.ratio * (1_u64 << 56) as f64)
    }
}

fn argument(environment: &Environment) -> Result<f64> {
    const NAME: &str = "OTEL_TRACES_SAMPLER_ARG";
    let Some(text) = environment.get(NAME) else { return Ok(1.0) };
    let ratio = text.trim().parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio
        .ok_or_else(|| Error::configuration(format!("{NAME} is {text:?}, which is not a number from 0 to 1")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(sampler: &str, argument: &str, flags: &str) -> usize {
        let environment = Environment::from_pairs([
            ("OTEL_TRACES_SAMPLER", sampler),
            ("OTEL_TRACES_SAMPLER_ARG", argument),
        ]);
        let sampler = Sampler::read(&environment).unwrap();
        let traces = (0..1000).map(|number| TraceContext::parse_or_derive(None, &number.to_string()));
        let flagged = traces.filter_map(|trace| {
            TraceContext::parse(&format!("00-{}-{}-{flags}", trace.trace_id(), trace.parent_id()))
        });
        flagged.filter(|trace| sampler.keeps(trace)).count()
    }

    #[test]
    fn all_none_or_a_share_is_kept_and_the_senders_word_counts_where_it_is_asked() {
        assert_eq!(kept("always_on", "", "00"), 1000);
        assert_eq!(kept("always_off", "", "01"), 0);
        assert_eq!(kept("", "", "01"), 1000);
        assert_eq!(kept("parentbased_always_on", "", "00"), 0);
        assert_eq!(kept("parentbased_traceidratio", "0.25", "00"), 0);
        for sampler in ["traceidratio", "parentbased_traceidratio"] {
            let share = kept(sampler, "0.25", "01");
            assert!((200..300).contains(&share), "{share}");
        }
    }
}
