//! How many attempts events had, in a stream of its own. The server only counts deliveries, and most of those are not
//! attempts. The stream has one message for each event that failed and comes again, for a week.

use async_nats::header::HeaderMap;
use bytes::Bytes;
use serde_json::json;

use super::api::Api;
use super::stream::Wanted;
use crate::{Delivery, Error, Result};

pub(super) async fn note(api: &Api, stream: &Wanted, delivery: &Delivery, attempts: u64) -> Result<()> {
    let subject = stream.attempts_subject(delivery.sequence);
    let payload = Bytes::from(json!([published(delivery), attempts]).to_string());
    let noted = api.publish(&subject, HeaderMap::new(), payload.clone()).await;
    if noted.as_ref().is_err_and(Error::try_again) {
        stream.ensure_attempts(api).await?;
        return api.publish(&subject, HeaderMap::new(), payload).await.map(drop);
    }
    noted.map(drop)
}

/// Fills in the recorded attempts of events that were delivered before. If they cannot be read, every delivery counts
/// as an attempt, so that no event is tried for ever.
pub(super) async fn recall<'a>(
    api: &Api,
    stream: &Wanted,
    deliveries: impl Iterator<Item = &'a mut Delivery>,
) {
    let again = deliveries.filter(|delivery| delivery.delivery_count > 1);
    let recalled = again.map(|delivery| async {
        let request = json!({"last_by_subj": stream.attempts_subject(delivery.sequence)});
        delivery.attempts = match api.stored(&stream.attempts_stream(), &request).await {
            Ok(noted) => {
                let noted = noted.and_then(|raw| serde_json::from_slice::<(i64, u64)>(&raw.payload).ok());
                // A stream that was made again counts from one, so the number may belong to an earlier message.
                noted.filter(|(at, _)| *at == published(delivery)).map_or(0, |(_, attempts)| attempts)
            }
            Err(error) if error.try_again() => 0,
            Err(error) => {
                tracing::warn!(error = %error, "the attempts of an event cannot be read, so its deliveries count");
                delivery.delivery_count - 1
            }
        };
    });
    futures_util::future::join_all(recalled).await;
}

fn published(delivery: &Delivery) -> i64 {
    delivery.published_at.timestamp_micros()
}
