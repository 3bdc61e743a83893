package ruleimport

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress is a bar that shows how many rules are done. It is shown on a terminal
// only: in logs and pipes there is nothing of it.
type progress struct {
	terminal io.Writer
	bar      *progressbar.ProgressBar
}

// newProgress returns a bar for standard error.
func newProgress(stderr io.Writer) *progress {
	p := &progress{}
	if file, ok := stderr.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		p.terminal = file
	}
	return p
}

// set says how much is done. The bar appears with the first call.
func (p *progress) set(done, total int) {
	if p.terminal == nil {
		return
	}
	if p.bar == nil {
		p.bar = progressbar.NewOptions(total,
			progressbar.OptionSetDescription("proving rules"), progressbar.OptionSetWriter(p.terminal), progressbar.OptionShowCount(),
			progressbar.OptionSetWidth(24), progressbar.OptionSetPredictTime(false), progressbar.OptionFullWidth(),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	}
	_ = p.bar.Set(done) // a terminal that is gone
}

// finish takes the bar away.
func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Clear() // likewise
	}
}
