//! `drivers CLIENT MODE URL` follows an event stream and writes a line of JSON per event.

mod eventsource_client;
mod reqwest_eventsource;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, client, mode, url] = &arguments[..] else {
        panic!("name a client, a mode and a url");
    };
    match (client.as_str(), mode.as_str()) {
        ("eventsource-client", "recipe") => eventsource_client::follow(url).await,
        ("eventsource-client", "plain") => eventsource_client::plain(url).await,
        ("reqwest-eventsource", "recipe") => reqwest_eventsource::follow(url).await,
        ("reqwest-eventsource", "plain") => reqwest_eventsource::plain(url).await,
        _ => panic!("no such client or mode"),
    }
}

/// Writes an event as a line of JSON.
pub fn take(id: &str, kind: &str, data: &str) {
    println!("{}", serde_json::json!({"id": id, "type": kind, "data": data}));
}

/// Writes what went wrong as a line of JSON.
pub fn trouble(text: impl std::fmt::Debug) {
    println!("{}", serde_json::json!({"trouble": format!("{text:?}")}));
}
