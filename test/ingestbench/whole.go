package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"text/tabwriter"
	"time"
)

const (
	// targetMicros is what the server may take of a processor for one event, all in.
	targetMicros = 40
	// mostOfFew is how many times as much an event may cost with the most open
	// sequences as with the fewest.
	mostOfFew = 1.25
	// senders is how many lists are on their way at once.
	senders = 4
	// turns is how often each server is measured, one after the other.
	turns = 5
)

// greeting is the server's first line: how to reach it.
type greeting struct {
	URL string
	// Authority signs the server's certificate. Certificate and Key are the client's. All in PEM.
	Authority, Certificate, Key string
}

// usage is its answer to each line that it reads: what it has used so far.
type usage struct {
	Processor time.Duration
	Allocated uint64
	Mallocs   uint64
	// Open are the sequences that are open.
	Open int
	// Parts are the processor's time, by part of the way.
	Parts map[string]time.Duration
}

// child is the server's process.
type child struct {
	process *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	url     string
	client  *http.Client
	batches *stamped
}

func start(ctx context.Context, open int, batches *stamped) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{process: exec.CommandContext(ctx, self, "-serve", strconv.Itoa(open)), batches: batches} //nolint:gosec // it is this program
	c.process.Stderr = os.Stderr
	if c.in, err = c.process.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if err = c.process.Start(); err != nil {
		return nil, err
	}
	var hello greeting
	if err = c.read(&hello); err != nil {
		return nil, errors.Join(fmt.Errorf("the server does not begin: %w", err), c.stop())
	}
	if c.client, err = hello.client(); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	c.url = hello.URL
	return c, nil
}

func (g greeting) client() (*http.Client, error) {
	certificate, err := tls.X509KeyPair([]byte(g.Certificate), []byte(g.Key))
	if err != nil {
		return nil, fmt.Errorf("the client's certificate: %w", err)
	}
	authority := x509.NewCertPool()
	authority.AppendCertsFromPEM([]byte(g.Authority))
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: authority, Certificates: []tls.Certificate{certificate}},
	}}, nil
}

func (c *child) read(out any) error {
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, out)
}

// used asks the server what it has used.
func (c *child) used() (u usage, err error) {
	if _, err := io.WriteString(c.in, "used\n"); err != nil {
		return u, err
	}
	return u, c.read(&u)
}

// stop ends the server: it goes when nobody speaks to it.
func (c *child) stop() error {
	return errors.Join(c.in.Close(), c.process.Wait())
}

// send sends lists, some at once, until all are acknowledged.
func (c *child) send(ctx context.Context, lists int) error {
	bodies := make(chan []byte, senders)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var sending sync.WaitGroup
	for range senders {
		sending.Go(func() {
			for body := range bodies {
				if err := c.post(ctx, body); err != nil {
					cancel(err)
				}
			}
		})
	}
	for range lists {
		bodies <- c.batches.next(time.Now())
	}
	close(bodies)
	sending.Wait()
	return context.Cause(ctx)
}

func (c *child) post(ctx context.Context, body []byte) error {
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		request.Header.Set("Content-Type", "application/json")
		answer, err := c.client.Do(request)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(io.LimitReader(answer.Body, 1000))
		if err = errors.Join(err, answer.Body.Close()); err != nil {
			return err
		}
		switch answer.StatusCode {
		case http.StatusOK:
			return nil
		case http.StatusTooManyRequests: // as an API server does
			time.Sleep(10 * time.Millisecond)
		default:
			return fmt.Errorf("the server answers %s: %s", answer.Status, text)
		}
	}
}

// measured is what a server was measured to take.
type measured struct {
	open int
	// micros are microseconds of a processor per event, rates events per second, of each turn.
	micros, rates []float64
	allocations   float64
	bytes         float64
	parts         map[string]float64
}

// wholeWay measures servers with few and with many open sequences, in turns.
func wholeWay(out io.Writer, events []string, lists int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	sizes := []int{100, 10_000, 100_000}
	rows := make([]measured, len(sizes))
	children := make([]*child, 0, len(sizes))
	defer func() {
		for _, c := range children {
			_ = c.stop()
		}
	}()
	for i, open := range sizes {
		c, err := start(ctx, open, newStamped(events))
		if err != nil {
			return err
		}
		children = append(children, c)
		rows[i] = measured{open: open, parts: map[string]float64{}}
		if err := c.send(ctx, senders); err != nil { // What is made for the first events is not what events cost.
			return err
		}
	}
	for range turns {
		for i, c := range children {
			if err := rows[i].turn(ctx, c, max(1, lists/turns)); err != nil {
				return err
			}
		}
	}
	return printWhole(out, rows)
}

func (m *measured) turn(ctx context.Context, c *child, lists int) error {
	before, err := c.used()
	if err != nil {
		return err
	}
	began := time.Now()
	if err = c.send(ctx, lists); err != nil {
		return err
	}
	took := time.Since(began)
	after, err := c.used()
	if err != nil {
		return err
	}
	if after.Open < m.open {
		return fmt.Errorf("%d sequences are open, want %d", after.Open, m.open)
	}
	n := float64(lists * batchSize)
	m.micros = append(m.micros, float64((after.Processor-before.Processor).Nanoseconds())/1000/n)
	m.rates = append(m.rates, n/took.Seconds())
	m.allocations = float64(after.Mallocs-before.Mallocs) / n
	m.bytes = float64(after.Allocated-before.Allocated) / n
	for part, spent := range after.Parts {
		m.parts[part] = float64((spent - before.Parts[part]).Nanoseconds()) / 1000 / n
	}
	return nil
}

func printWhole(out io.Writer, rows []measured) error {
	fmt.Fprintf(out, "The whole way: %d lists at once over HTTP/2 and TLS, sink, pipeline, 71 rules, bus on disk; median of %d turns\n\n", senders, turns)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "open sequences\tserver, µs of a processor per event\ttarget\tallocations\tbytes\tevents per second\tof the fewest\t")
	few := median(rows[0].micros)
	for _, m := range rows {
		fmt.Fprintf(w, "%d\t%.1f\t%d\t%.1f\t%.0f\t%.0f\t%.2f\t\n", m.open, median(m.micros), targetMicros, m.allocations, m.bytes, median(m.rates), median(m.micros)/few)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nOf the last turn, as the clock goes, µs per event\n\n")
	for _, part := range parts() {
		fmt.Fprintf(w, "%s\t%.2f\t\n", part, rows[0].parts[part])
	}
	if err := w.Flush(); err != nil {
		return err
	}
	last := &rows[len(rows)-1]
	var ratios []float64
	for i, micros := range last.micros {
		ratios = append(ratios, micros/rows[0].micros[i])
	}
	if least := quartile(ratios); least > mostOfFew {
		return fmt.Errorf("%d open sequences make an event cost %.2f times as much as %d, promised are %.2f", last.open, least, rows[0].open, mostOfFew)
	}
	return nil
}
