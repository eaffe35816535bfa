package main

// [recipe]
import (
	"context"
	"net/http"

	"github.com/tmaxmax/go-sse"
)

func followGoSSE(url string) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		trouble(err)
		return
	}
	connection := sse.NewConnection(request)
	// Its buffer must hold a whole event: the hub's `max_event_bytes`, and some more.
	connection.Buffer(nil, 2<<20)
	connection.SubscribeToAll(func(event sse.Event) {
		if event.Data == "" { // a block without data is no event
			return
		}
		take(event.LastEventID, event.Type, event.Data)
		if event.Type == "complete" {
			stop()
		}
	})
	if err := connection.Connect(); err != nil && ctx.Err() == nil {
		trouble(err) // a status that would not change; 204 is one
	}
}

// [/recipe]

// As its README has it.
func plainGoSSE(url string) {
	request, _ := http.NewRequest(http.MethodGet, url, http.NoBody)
	connection := sse.NewConnection(request)
	connection.SubscribeToAll(func(event sse.Event) {
		take(event.LastEventID, event.Type, event.Data)
	})
	if err := connection.Connect(); err != nil {
		trouble(err)
	}
}
