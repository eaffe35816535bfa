package main

// [recipe]
import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/r3labs/sse/v2"
	"gopkg.in/cenkalti/backoff.v1"
)

var errOver = errors.New("the event stream is over")

func followR3labs(url string) {
	// Its buffer must hold a whole event: the hub's `max_event_bytes`, and some more.
	client := sse.NewClient(url, sse.ClientMaxBufferSize(2<<20))
	client.ReconnectStrategy = &backoff.StopBackOff{} // the loop below comes back instead
	client.ResponseValidator = func(_ *sse.Client, answer *http.Response) error {
		if answer.StatusCode != 200 {
			answer.Body.Close()
		}
		switch {
		case answer.StatusCode == 200:
			return nil
		case answer.StatusCode < 500: // 204, or a status that would not change
			return errOver
		}
		return errors.New(answer.Status)
	}
	ctx, stop := context.WithCancel(context.Background())
	wait := 3 * time.Second
	for ctx.Err() == nil {
		// A clean end is the end for good, so it is called again.
		err := client.SubscribeRawWithContext(ctx, func(event *sse.Event) {
			if ms, err := strconv.Atoi(string(event.Retry)); err == nil {
				wait = time.Duration(ms) * time.Millisecond
			}
			// A block without data is no event. If the connection is cut inside an event, it takes
			// the first half for one; JSON shows that.
			if ctx.Err() != nil || !json.Valid(event.Data) {
				return
			}
			client.Headers["Last-Event-ID"] = string(event.ID)
			take(string(event.ID), string(event.Event), string(event.Data))
			if string(event.Event) == "complete" {
				stop()
			}
		})
		if errors.Is(err, errOver) {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	stop()
}

// [/recipe]

// As its README has it.
func plainR3labs(url string) {
	client := sse.NewClient(url)
	err := client.SubscribeRaw(func(event *sse.Event) {
		take(string(event.ID), string(event.Event), string(event.Data))
	})
	if err != nil {
		trouble(err)
	}
}
