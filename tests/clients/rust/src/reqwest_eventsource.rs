use crate::{take, trouble};

// [recipe]
use futures::StreamExt;
use reqwest_eventsource::{Event, EventSource};

pub async fn follow(url: &str) {
    let mut source = EventSource::get(url);
    while let Some(found) = source.next().await {
        match found {
            Ok(Event::Message(event)) => {
                take(&event.id, &event.event, &event.data);
                if event.event == "complete" {
                    source.close();
                }
            }
            Ok(Event::Open) => {}
            // Its README closes the source here. It comes back if it is not closed; after a status
            // other than 200, such as 204, it has closed itself.
            Err(error) => trouble(error),
        }
    }
}
// [/recipe]

/// As its README has it: any error ends it, and a clean end is one.
pub async fn plain(url: &str) {
    let mut source = EventSource::get(url);
    while let Some(found) = source.next().await {
        match found {
            Ok(Event::Message(event)) => take(&event.id, &event.event, &event.data),
            Ok(Event::Open) => {}
            Err(_) => source.close(),
        }
    }
}
