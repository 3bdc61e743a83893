package serverprocess

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// lagging has the server learn of pods later than they are made: its watch of them goes
// through the gateway, which passes on what the API server says after a while.
type lagging struct {
	by      time.Duration
	running *sync.WaitGroup
}

// modify changes the answer to a watch of pods.
func (l lagging) modify(resp *http.Response) error {
	if req := resp.Request; req.URL.Path == "/api/v1/pods" && req.URL.Query().Has("watch") {
		resp.Body = l.delay(resp.Body)
	}
	return nil
}

// lagChunks is how many pieces of an answer are on their way at most.
const lagChunks = 1024

// delay returns the body with everything in it that much later. Closing it, or the end of the body,
// ends what that takes.
func (l lagging) delay(body io.ReadCloser) io.ReadCloser {
	type chunk struct {
		data []byte
		due  time.Time
	}
	chunks := make(chan chunk, lagChunks)
	out, in := io.Pipe()
	l.running.Go(func() {
		defer close(chunks)
		for {
			data := make([]byte, 8<<10)
			n, err := body.Read(data)
			if n > 0 {
				chunks <- chunk{data[:n], time.Now().Add(l.by)}
			}
			if err != nil {
				return
			}
		}
	})
	l.running.Go(func() {
		for c := range chunks {
			time.Sleep(time.Until(c.due))
			_, _ = in.Write(c.data) // Nobody reads on: then it is only taken off the other's hands.
		}
		_ = in.Close()
	})
	return &delayed{Reader: out, pipe: out, body: body}
}

// delayed is an answer that comes later.
type delayed struct {
	io.Reader
	pipe *io.PipeReader
	body io.ReadCloser
}

// Close implements io.Closer.
func (d *delayed) Close() error {
	_ = d.pipe.Close()
	return d.body.Close()
}
