// Command drivers follows an event stream and writes a line of JSON per event.
package main

import (
	"encoding/json"
	"os"
)

func take(id, kind, data string) {
	if kind == "" {
		kind = "message"
	}
	line(map[string]string{"id": id, "type": kind, "data": data})
}

func trouble(err error) {
	line(map[string]string{"trouble": err.Error()})
}

func line(values map[string]string) {
	if err := json.NewEncoder(os.Stdout).Encode(values); err != nil {
		os.Exit(1)
	}
}

func main() {
	follow := map[string]func(string){
		"launchdarkly recipe": followLaunchDarkly,
		"launchdarkly plain":  plainLaunchDarkly,
		"r3labs recipe":       followR3labs,
		"r3labs plain":        plainR3labs,
		"go-sse recipe":       followGoSSE,
		"go-sse plain":        plainGoSSE,
	}
	follow[os.Args[1]+" "+os.Args[2]](os.Args[3])
}
