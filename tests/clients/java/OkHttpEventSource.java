// [recipe]
import com.launchdarkly.eventsource.ConnectStrategy;
import com.launchdarkly.eventsource.ErrorStrategy;
import com.launchdarkly.eventsource.EventSource;
import com.launchdarkly.eventsource.FaultEvent;
import com.launchdarkly.eventsource.MessageEvent;
import com.launchdarkly.eventsource.StreamEvent;
import com.launchdarkly.eventsource.StreamHttpErrorException;
import java.net.URI;
import java.util.concurrent.TimeUnit;

final class OkHttpEventSource {
  static void follow(String url, Driver.Take take) throws Exception {
    EventSource source =
        new EventSource.Builder(
                ConnectStrategy.http(URI.create(url)).readTimeout(60, TimeUnit.SECONDS))
            // Without this, a clean end throws.
            .errorStrategy(ErrorStrategy.alwaysContinue())
            .build();
    for (StreamEvent found : source.anyEvents()) {
      if (found instanceof MessageEvent event) {
        take.event(event.getLastEventId(), event.getEventName(), event.getData());
        if (event.getEventName().equals("complete")) break;
      } else if (found instanceof FaultEvent fault
          && fault.getCause() instanceof StreamHttpErrorException answer
          && answer.getCode() < 500) {
        break; // 204 is one: the event stream is over
      }
    }
    source.close();
  }
}
// [/recipe]

final class OkHttpEventSourcePlain {
  /** As its documentation has it. */
  static void plain(String url, Driver.Take take) throws Exception {
    EventSource source = new EventSource.Builder(URI.create(url)).build();
    try {
      for (MessageEvent event : source.messages()) {
        take.event(event.getLastEventId(), event.getEventName(), event.getData());
      }
    } catch (RuntimeException error) {
      Driver.trouble(error);
    }
  }
}
