package main

// [recipe]
import (
	"errors"

	"github.com/launchdarkly/eventsource"
)

func followLaunchDarkly(url string) {
	stream, err := eventsource.SubscribeWithURL(url,
		eventsource.StreamOptionCanRetryFirstConnection(-1),
		eventsource.StreamOptionErrorHandler(func(err error) eventsource.StreamErrorHandlerResult {
			// 204: the event stream is over. Without this, the client comes back for ever.
			var answer eventsource.SubscriptionError
			over := errors.As(err, &answer) && answer.Code < 500
			return eventsource.StreamErrorHandlerResult{CloseNow: over}
		}))
	if err != nil {
		trouble(err)
		return
	}
	for event := range stream.Events {
		if event.Data() == "" { // a block without data is no event
			continue
		}
		take(event.Id(), event.Event(), event.Data())
		if event.Event() == "complete" {
			stream.Close()
			return
		}
	}
}

// [/recipe]

// As its documentation has it.
func plainLaunchDarkly(url string) {
	stream, err := eventsource.SubscribeWithURL(url)
	if err != nil {
		trouble(err)
		return
	}
	go func() {
		for err := range stream.Errors {
			trouble(err)
		}
	}()
	for event := range stream.Events {
		take(event.Id(), event.Event(), event.Data())
	}
}
