package replay

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progressAfter is how long nothing is shown: most recordings are done by then.
const progressAfter = 500 * time.Millisecond

// progressEvery is how many events lie between two looks at the clock.
const progressEvery = 256

// progress is a bar on a terminal. It is shown once the work takes long. A nil
// progress, as there is where there is no terminal, shows nothing.
type progress struct {
	bar   *progressbar.ProgressBar
	calls int
}

// newProgress shows how much of size is done; -1 if that is not known.
func newProgress(w io.Writer, what string, size int64, more ...progressbar.Option) *progress {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	options := append([]progressbar.Option{
		progressbar.OptionSetWriter(&lateWriter{Writer: w, from: time.Now().Add(progressAfter)}),
		progressbar.OptionSetDescription(what), progressbar.OptionSetWidth(24), progressbar.OptionFullWidth(),
		progressbar.OptionThrottle(100 * time.Millisecond), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetSpinnerChangeInterval(0), // else a goroutine would turn it for ever
	}, more...)
	p := &progress{bar: progressbar.NewOptions64(size, options...)}
	_ = p.bar.Set64(0) // its clock starts now
	return p
}

// lateWriter drops what is written before a moment.
type lateWriter struct {
	io.Writer
	from time.Time
}

func (w *lateWriter) Write(p []byte) (int, error) {
	if time.Now().Before(w.from) {
		return len(p), nil
	}
	return w.Writer.Write(p)
}

// read shows how many bytes are read.
func (p *progress) read(bytes int64) {
	if p == nil {
		return
	}
	if p.calls++; p.calls%progressEvery == 0 {
		_ = p.bar.Set64(bytes) // a terminal that is gone
	}
}

// joined shows how many candidates are joined.
func (p *progress) joined(done, total int) {
	if p == nil || total == 0 {
		return
	}
	p.bar.ChangeMax(total)
	_ = p.bar.Set(done) // likewise
}

// clear takes the bar off the screen; it may come back.
func (p *progress) clear() {
	if p != nil {
		_ = p.bar.Clear() // likewise
	}
}
