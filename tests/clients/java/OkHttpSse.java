// [recipe]
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;
import okhttp3.sse.EventSource;
import okhttp3.sse.EventSourceListener;
import okhttp3.sse.EventSources;

final class OkHttpSse {
  static void follow(String url, Driver.Take take) throws Exception {
    // OkHttp's own limit is 10 s, which is below the hub's heartbeat.
    OkHttpClient client = new OkHttpClient.Builder().readTimeout(60, TimeUnit.SECONDS).build();
    AtomicReference<String> lastId = new AtomicReference<>("");
    AtomicBoolean over = new AtomicBoolean();
    while (!over.get()) {
      CountDownLatch ended = new CountDownLatch(1);
      Request.Builder request = new Request.Builder().url(url);
      if (!lastId.get().isEmpty()) request.header("Last-Event-ID", lastId.get());
      EventSourceListener listener =
          new EventSourceListener() {
            @Override
            public void onEvent(EventSource source, String id, String type, String data) {
              if (over.get()) return;
              if (id != null) lastId.set(id);
              take.event(id, type, data);
              if ("complete".equals(type)) {
                over.set(true);
                source.cancel();
              }
            }

            @Override
            public void onClosed(EventSource source) {
              ended.countDown();
            }

            @Override
            public void onFailure(EventSource source, Throwable error, Response answer) {
              // 204, or a status that would not change.
              if (answer != null && answer.code() != 200 && answer.code() < 500) over.set(true);
              ended.countDown();
            }
          };
      EventSources.createFactory(client).newEventSource(request.build(), listener);
      ended.await();
      // It does not come back by itself, and does not pass on the hub's `retry:`.
      if (!over.get()) Thread.sleep(1000 + (long) (4000 * Math.random()));
    }
  }
}
// [/recipe]

final class OkHttpSsePlain {
  /** As its documentation has it: one response. */
  static void plain(String url, Driver.Take take) throws Exception {
    CountDownLatch ended = new CountDownLatch(1);
    EventSourceListener listener =
        new EventSourceListener() {
          @Override
          public void onEvent(EventSource source, String id, String type, String data) {
            take.event(id, type == null ? "message" : type, data);
          }

          @Override
          public void onClosed(EventSource source) {
            ended.countDown();
          }

          @Override
          public void onFailure(EventSource source, Throwable error, Response answer) {
            Driver.trouble(error);
            ended.countDown();
          }
        };
    Request request = new Request.Builder().url(url).build();
    EventSources.createFactory(new OkHttpClient()).newEventSource(request, listener);
    ended.await();
  }
}
