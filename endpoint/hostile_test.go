package endpoint

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestOneAddressCannotKeepOthersOut: whoever opens all connections that there may be pushes out himself.
func TestOneAddressCannotKeepOthersOut(t *testing.T) {
	r := serve(t, http.HandlerFunc(ok), func(o *Options) { o.Limits.Connections = 8 })
	server := r.client("127.0.0.1")
	r.get(server, http.StatusOK)
	hostile := make([]net.Conn, 0, 20)
	for range 20 {
		hostile = append(hostile, r.handshake("127.0.0.2", "h2"))
	}
	for _, c := range hostile[:12] {
		ended(t, c)
	}
	r.get(server, http.StatusOK)
	r.get(r.client("127.0.0.3"), http.StatusOK)
	if got := testutil.ToFloat64(r.server.metrics.connections); got > 8 {
		t.Errorf("%v connections", got)
	}
	if got := testutil.ToFloat64(r.server.metrics.displaced); got < 12 {
		t.Errorf("counted %v displaced connections", got)
	}
}

// TestSilenceGoesFirst: of one address, as behind a translator of addresses.
func TestSilenceGoesFirst(t *testing.T) {
	r := serve(t, http.HandlerFunc(ok), func(o *Options) { o.Limits.Connections = 4 })
	c := r.client("127.0.0.1")
	r.get(c, http.StatusOK)
	for range 20 {
		r.dial("127.0.0.1")
	}
	var used bool
	resp, err := c.Get(r.url)
	if err == nil {
		resp.Body.Close()
		used = true
	}
	if !used {
		t.Errorf("the connection that had asked was closed: %v", err)
	}
}

func TestSlowHandshakesAndHeadersEnd(t *testing.T) {
	// Long enough for a handshake on a machine that is busy.
	r := serve(t, http.HandlerFunc(ok), func(o *Options) {
		o.Limits.HeaderTimeout, o.Limits.IdleTimeout = time.Second, 100*time.Millisecond
	})
	for name, open := range map[string]func() net.Conn{
		"nothing at all": func() net.Conn { return r.dial("127.0.0.1") },
		"half a handshake": func() net.Conn {
			c := r.dial("127.0.0.1")
			write(t, c, []byte{22, 3, 1, 2, 0})
			return c
		},
		"half of HTTP/1.1 headers": func() net.Conn {
			c := r.handshake("127.0.0.1", "http/1.1")
			write(t, c, []byte("GET / HTTP/1.1\r\nHost: x\r\nX-A: "))
			return c
		},
		"HTTP/2 headers that never end": func() net.Conn {
			f := newFramer(t, r.handshake("127.0.0.1", "h2"))
			_ = f.headers(1, false)
			_ = f.WriteContinuation(1, false, nil)
			return f.conn
		},
		"HTTP/2 without a request": func() net.Conn { return newFramer(t, r.handshake("127.0.0.1", "h2")).conn },
	} {
		t.Run(name, func(t *testing.T) { ended(t, open()) })
	}
}

func TestHugeHeaders(t *testing.T) {
	r := serve(t, http.HandlerFunc(ok), nil)
	c := r.client("127.0.0.1")
	req, err := http.NewRequest(http.MethodGet, r.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Large", strings.Repeat("x", 64<<10))
	resp, err := c.Do(req)
	if err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("64 KiB of headers: %s", resp.Status)
		}
	}
	r.get(c, http.StatusOK)

	// A header block that goes on and on, of which each piece is allowed.
	f := newFramer(t, r.handshake("127.0.0.1", "h2"))
	f.headers(1, false)
	piece := bytes.Repeat([]byte{0x40, 1, 'x', 1, 'y'}, 2000)
	for range 1000 {
		if f.WriteContinuation(1, false, piece) != nil {
			break
		}
	}
	ended(t, f.conn)
}

// TestRapidReset opens requests and takes them back at once, as fast as it can.
func TestRapidReset(t *testing.T) {
	var running, most atomic.Int64
	release := make(chan struct{})
	r := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		n := running.Add(1)
		defer running.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-release
	}), func(o *Options) { o.Limits.Streams = 10 })
	defer close(release)
	f := newFramer(t, r.handshake("127.0.0.1", "h2"))
	go func() {
		for id := uint32(1); id < 200_000; id += 2 {
			if f.headers(id, true) != nil || f.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
				return
			}
		}
	}()
	ended(t, f.conn)
	if got := most.Load(); got > 10 {
		t.Errorf("%d handlers ran at once for a connection of 10 streams", got)
	}
}

// TestRequestsAreShed: and one address gets only half of the room.
func TestRequestsAreShed(t *testing.T) {
	entered, release := make(chan struct{}, 10), make(chan struct{})
	r := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPost {
			entered <- struct{}{}
			<-release
		}
	}), func(o *Options) { o.Limits.Requests = 4 })
	hostile := r.client("127.0.0.2")
	for range 2 {
		go func() {
			if resp, err := hostile.Post(r.url, "", nil); err == nil {
				resp.Body.Close()
			}
		}()
		<-entered
	}
	r.get(hostile, http.StatusServiceUnavailable)
	r.get(r.client("127.0.0.1"), http.StatusOK)
	close(release)
	if got := testutil.ToFloat64(r.server.metrics.shed); got != 1 {
		t.Errorf("counted %v", got)
	}
}

// TestStuckClientsLoseTheirPlace: neither who does not send nor who does not read keeps a handler, whoever looks after that.
func TestStuckClientsLoseTheirPlace(t *testing.T) {
	for name, limits := range map[string]func(*Options){
		"by timers": func(o *Options) {
			o.Limits.ReadTimeout, o.Limits.WriteTimeout = 30*time.Millisecond, 60*time.Millisecond
		},
		"brief": func(o *Options) { o.Brief, o.Limits.WriteTimeout = true, 60*time.Millisecond },
		"sending": func(o *Options) {
			o.Limits.ReadTimeout, o.Limits.SendTimeout = 30*time.Millisecond, 60*time.Millisecond
		},
	} {
		t.Run(name, func(t *testing.T) { stuckClients(t, limits) })
	}
}

func stuckClients(t *testing.T, limits func(*Options)) {
	t.Helper()
	left := make(chan error, 1)
	r := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var err error
		if r.Method == http.MethodPost {
			_, err = io.Copy(io.Discard, r.Body)
		} else {
			for err == nil {
				_, err = w.Write(make([]byte, 64<<10))
			}
		}
		left <- err
	}), limits)

	for _, protocol := range []string{"h2", "http/1.1"} {
		t.Run(protocol+" does not send", func(t *testing.T) {
			if c := r.handshake("127.0.0.1", protocol); protocol == "h2" {
				newFramer(t, c).request(1, http.MethodPost, false)
			} else {
				write(t, c, []byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"))
			}
			if err := <-left; err == nil {
				t.Error("the handler got a whole request")
			}
		})
		t.Run(protocol+" does not read", func(t *testing.T) {
			if c := r.handshake("127.0.0.1", protocol); protocol == "h2" {
				f := newFramer(t, c)
				// Room for more than the sockets' buffers take: whoever waits for the window waits by WriteTimeout.
				if err := errors.Join(f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1}), f.WriteWindowUpdate(0, 1<<30)); err != nil {
					t.Fatal(err)
				}
				f.request(1, http.MethodGet, true)
			} else {
				write(t, c, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
			}
			if err := <-left; err == nil {
				t.Error("the handler could write for ever")
			}
		})
	}
}

// TestABodyThatNobodyReads: in HTTP/1.1 net/http reads the rest of it after the answer.
func TestABodyThatNobodyReads(t *testing.T) {
	r := serve(t, http.HandlerFunc(ok), func(o *Options) { o.Brief, o.Limits.WriteTimeout = true, 100*time.Millisecond })
	c := r.handshake("127.0.0.1", "http/1.1")
	write(t, c, []byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"))
	ended(t, c)
}

// TestMemoryOfHostileConnections: each keeps all that it can without a request being answered.
func TestMemoryOfHostileConnections(t *testing.T) {
	const connections = 200
	release := make(chan struct{})
	entered := make(chan struct{}, connections)
	r := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-release
	}), func(o *Options) { o.Limits.ReadTimeout = time.Minute })
	defer close(release)
	before := heap()
	data := make([]byte, maxFrame)
	for range connections {
		f := newFramer(t, r.handshake("127.0.0.1", "h2"))
		f.request(1, http.MethodPost, false)
		for range minReceiveBuffer/maxFrame - 1 { // as much as the window lets it
			if err := f.WriteData(1, false, data); err != nil {
				t.Fatal(err)
			}
		}
		<-entered
	}
	each := (heap() - before) / connections
	// Both ends are in this process, so this counts twice.
	t.Logf("%d KiB for a connection, both ends", each>>10)
	if each > 400<<10 {
		t.Errorf("%d bytes for a connection", each)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

func write(t testing.TB, w io.Writer, text []byte) {
	t.Helper()
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
}

// framer is a client that breaks the rules.
type framer struct {
	*http2.Framer
	t    testing.TB
	conn *tls.Conn
}

func newFramer(t testing.TB, c *tls.Conn) *framer {
	t.Helper()
	write(t, c, []byte(http2.ClientPreface))
	f := &framer{Framer: http2.NewFramer(c, nil), t: t, conn: c}
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return f
}

// headers sends the fields of a GET; complete says that it is all.
func (f *framer) headers(id uint32, complete bool) error {
	return f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: fields(http.MethodGet), EndStream: true, EndHeaders: complete})
}

// request sends the fields of a request, and no body.
func (f *framer) request(id uint32, method string, whole bool) {
	f.t.Helper()
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: fields(method), EndStream: whole, EndHeaders: true}); err != nil {
		f.t.Fatal(fmt.Errorf("request: %w", err))
	}
}

func fields(method string) []byte {
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, kv := range [][2]string{{":method", method}, {":scheme", "https"}, {":authority", "x"}, {":path", "/"}} {
		_ = e.WriteField(hpack.HeaderField{Name: kv[0], Value: kv[1]}) // into memory
	}
	return block.Bytes()
}

// TestListenForOtherServers: who has spoken stays, and silence is not waited for.
func TestListenForOtherServers(t *testing.T) {
	bound, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Listen(bound, 2)
	defer l.Close()
	connect := func() (theirs, ours net.Conn) {
		t.Helper()
		theirs, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = theirs.Close() })
		if ours, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		return theirs, ours
	}
	_, spoken := connect()
	Spoke(spoken)
	second, _ := connect()
	third, _ := connect()
	ended(t, second)
	l.CloseSilent()
	ended(t, third)
	if _, err := spoken.Write([]byte("x")); err != nil {
		t.Errorf("the one that has spoken is closed: %v", err)
	}
	_ = spoken.Close()
	_ = spoken.Close()
	if len(l.open) != 0 || len(l.from) != 0 {
		t.Errorf("remembers %d connections of %d addresses", len(l.open), len(l.from))
	}
}
