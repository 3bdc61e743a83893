package endpoint

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// DefaultAge is how old a connection gets at least.
const DefaultAge = 5 * time.Minute

// DefaultDrain is how long requests may take when the server stops.
const DefaultDrain = 7 * time.Second

// Options are a Server's dependencies and settings. Zero settings mean the defaults.
type Options struct {
	// Name is what logs, errors and metrics call it.
	Name string
	// Address to listen on, such as ":9443"; port 0 takes a free one.
	Address string
	Handler http.Handler
	// TLS has the server's certificate; one that rotates comes through GetCertificate or
	// GetConfigForClient. Nil means plain HTTP.
	TLS *tls.Config
	// Brief says that every request is answered at once. Limits.WriteTimeout is then for all of a request, its body as well, and
	// who exceeds it loses the connection instead of the request. That takes a twentieth off a verdict. A handler cannot set other times.
	Brief bool
	// Age is how long a connection lives: a random time from it to twice as long.
	Age time.Duration
	// Drain is how long requests under way may take when the Server stops.
	Drain      time.Duration
	Limits     Limits
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Limits bound what callers can cost. Zero means the value of DefaultLimits.
type Limits struct {
	// Connections may be open at once.
	Connections int
	// Streams are the requests that one HTTP/2 connection may have under way. A Go client
	// opens another connection for more.
	Streams int
	// Requests may be under way at once in all, and half of them from one address. What is
	// beyond is answered with 503.
	Requests int
	// HeaderBytes bounds a request's headers.
	HeaderBytes int
	// ReceiveBuffer is how many bytes of bodies, not read by the handler, a connection keeps.
	ReceiveBuffer int
	// HeaderTimeout is for a TLS handshake, and for the headers of a request in HTTP/1.1.
	HeaderTimeout time.Duration
	// ReadTimeout is for a request and its body, WriteTimeout for everything until the answer's end.
	// A handler can set others by an http.ResponseController.
	ReadTimeout, WriteTimeout time.Duration
	// SendTimeout is for the other side to take what is sent to it in one piece, of 16 KiB at most with TLS.
	SendTimeout time.Duration
	// IdleTimeout is for a connection on which no request is under way.
	IdleTimeout time.Duration
}

// DefaultLimits are for callers that send little: some 100 KiB a connection at worst, so 50 MiB in all.
func DefaultLimits() Limits {
	return Limits{
		Connections:   512,
		Streams:       100,
		Requests:      1024,
		HeaderBytes:   32 << 10,
		ReceiveBuffer: minReceiveBuffer,
		HeaderTimeout: 5 * time.Second,
		ReadTimeout:   10 * time.Second,
		WriteTimeout:  30 * time.Second,
		SendTimeout:   10 * time.Second,
		IdleTimeout:   3 * time.Minute,
	}
}

// The bounds that net/http has for receive buffers: it ignores what is outside.
const (
	minReceiveBuffer = 64 << 10
	maxReceiveBuffer = 4<<20 - 1
)

func (o *Options) complete() error {
	switch {
	case o.Name == "":
		return errors.New("endpoint: Options.Name is empty")
	case o.Handler == nil:
		return fmt.Errorf("endpoint %s: Options.Handler is nil", o.Name)
	case o.Logger == nil:
		return fmt.Errorf("endpoint %s: Options.Logger is nil", o.Name)
	case o.Registerer == nil:
		return fmt.Errorf("endpoint %s: Options.Registerer is nil", o.Name)
	case o.Age < 0 || o.Drain < 0:
		return fmt.Errorf("endpoint %s: Options.Age and Drain must not be negative", o.Name)
	}
	setDefault(&o.Age, DefaultAge)
	setDefault(&o.Drain, DefaultDrain)
	if err := o.Limits.complete(); err != nil {
		return fmt.Errorf("endpoint %s: Options.Limits: %w", o.Name, err)
	}
	return nil
}

func (l *Limits) complete() error {
	defaults := DefaultLimits()
	for _, n := range []struct {
		name  string
		value *int
		usual int
	}{
		{"Connections", &l.Connections, defaults.Connections},
		{"Streams", &l.Streams, defaults.Streams},
		{"Requests", &l.Requests, defaults.Requests},
		{"HeaderBytes", &l.HeaderBytes, defaults.HeaderBytes},
		{"ReceiveBuffer", &l.ReceiveBuffer, defaults.ReceiveBuffer},
	} {
		setDefault(n.value, n.usual)
		if *n.value < 1 {
			return fmt.Errorf("%s is %d, must be positive", n.name, *n.value)
		}
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		usual time.Duration
	}{
		{"HeaderTimeout", &l.HeaderTimeout, defaults.HeaderTimeout},
		{"ReadTimeout", &l.ReadTimeout, defaults.ReadTimeout},
		{"WriteTimeout", &l.WriteTimeout, defaults.WriteTimeout},
		{"SendTimeout", &l.SendTimeout, defaults.SendTimeout},
		{"IdleTimeout", &l.IdleTimeout, defaults.IdleTimeout},
	} {
		setDefault(d.value, d.usual)
		if *d.value < 0 {
			return fmt.Errorf("%s is %s, must be positive", d.name, *d.value)
		}
	}
	if l.ReceiveBuffer < minReceiveBuffer || l.ReceiveBuffer > maxReceiveBuffer {
		return fmt.Errorf("ReceiveBuffer is %d, must be from %d to %d", l.ReceiveBuffer, minReceiveBuffer, maxReceiveBuffer)
	}
	return nil
}

func setDefault[T int | time.Duration](setting *T, value T) {
	if *setting == 0 {
		*setting = value
	}
}
