use crate::{take, trouble};

// [recipe]
use eventsource_client::{Client, ClientBuilder, Error, ReconnectOptions, SSE};
use futures::StreamExt;
use launchdarkly_sdk_transport::HyperTransport;
use std::time::Duration;

pub async fn follow(url: &str) {
    let transport = HyperTransport::builder()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(60)) // above the hub's heartbeat
        .build_http()
        .expect("a transport");
    let mut stream = ClientBuilder::for_url(url)
        .expect("a url")
        .reconnect(ReconnectOptions::reconnect(true).retry_initial(true).build())
        .build_with_transport(transport)
        .stream();
    while let Some(found) = stream.next().await {
        match found {
            // It takes 204 for a stream that has ended, and would come back for ever.
            Ok(SSE::Connected(opened)) if opened.response().status() == 204 => return,
            Ok(SSE::Event(event)) => {
                take(&event.id.unwrap_or_default(), &event.event_type, &event.data);
                if event.event_type == "complete" {
                    return;
                }
            }
            Ok(_) => {}
            // It connects again at the next turn. Another status than these would not change.
            Err(Error::UnexpectedResponse(answer, _)) if answer.status() < 500 => return,
            Err(error) => trouble(error),
        }
    }
}
// [/recipe]

/// As its README has it: the first error ends it, and a clean end is one.
pub async fn plain(url: &str) {
    let transport = HyperTransport::builder().build_http().expect("a transport");
    let client = ClientBuilder::for_url(url).expect("a url").build_with_transport(transport);
    let mut stream = client.stream();
    while let Some(Ok(found)) = stream.next().await {
        if let SSE::Event(event) = found {
            take(&event.id.unwrap_or_default(), &event.event_type, &event.data);
        }
    }
}
