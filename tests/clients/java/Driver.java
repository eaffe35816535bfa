/** `java Driver CLIENT MODE URL` follows an event stream and writes a line of JSON per event. */
public final class Driver {
  interface Take {
    void event(String id, String type, String data);
  }

  public static void main(String[] arguments) throws Exception {
    String url = arguments[2];
    switch (arguments[0] + " " + arguments[1]) {
      case "okhttp-eventsource recipe" -> OkHttpEventSource.follow(url, Driver::take);
      case "okhttp-eventsource plain" -> OkHttpEventSourcePlain.plain(url, Driver::take);
      case "okhttp-sse recipe" -> OkHttpSse.follow(url, Driver::take);
      case "okhttp-sse plain" -> OkHttpSsePlain.plain(url, Driver::take);
      default -> throw new IllegalArgumentException("no such client or mode");
    }
    System.exit(0); // OkHttp's threads would keep it
  }

  static void take(String id, String type, String data) {
    System.out.println(
        "{\"id\":" + quoted(id) + ",\"type\":" + quoted(type) + ",\"data\":" + quoted(data) + "}");
    System.out.flush();
  }

  static void trouble(Object what) {
    System.out.println("{\"trouble\":" + quoted(String.valueOf(what)) + "}");
    System.out.flush();
  }

  private static String quoted(String text) {
    if (text == null) return "\"\"";
    StringBuilder made = new StringBuilder("\"");
    for (char c : text.toCharArray()) {
      if (c == '"' || c == '\\') made.append('\\').append(c);
      else if (c < ' ' || c > '~') made.append(String.format("\\u%04x", (int) c));
      else made.append(c);
    }
    return made.append('"').toString();
  }
}
